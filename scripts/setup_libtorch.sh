#!/usr/bin/env bash
# Installs libtorch into .libtorch/ of this checkout, where `cargo build --features tch` looks for it.
#
#   scripts/setup_libtorch.sh          # --cuda if there is an NVIDIA driver, else --cpu
#   scripts/setup_libtorch.sh --cpu    # 0.5 GB download, 0.6 GB installed
#   scripts/setup_libtorch.sh --cuda   # 2.5 GB download, 4.7 GB installed; runs on the CPU as well
#
# TORCH_VERSION=2.9.0 takes the release that the bindings were made for instead of 2.11.0.
# PYTHON names the interpreter whose pip downloads the packages; nothing else needs Python.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
TORCH_VERSION=${TORCH_VERSION:-2.11.0}
HOME_OF_LIBTORCH=.libtorch

# Of the CUDA packages libtorch_cpu.so itself needs two. ProcessGroupNCCL.hpp includes headers of two
# more, which PyTorch does not bring along.
case $TORCH_VERSION in
    2.11.0)
        runtime=(nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)
        headers=(nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85) ;;
    2.9.0)
        runtime=(nvidia-cuda-runtime-cu12==12.8.90 nvidia-cuda-cupti-cu12==12.8.90)
        headers=(nvidia-cuda-nvcc-cu12==12.8.93 nvidia-cuda-cccl-cu12==12.8.90) ;;
    *) echo "error: TORCH_VERSION=$TORCH_VERSION; 2.11.0 and 2.9.0 are supported" >&2; exit 1 ;;
esac

case ${1:-} in
    --cpu) kind=cpu ;;
    --cuda) kind=cuda ;;
    '') if command -v nvidia-smi > /dev/null; then kind=cuda; else kind=cpu; fi ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 1 ;;
esac
if [[ $(uname -sm) != 'Linux x86_64' ]]; then
    echo "error: this script knows Linux on x86_64 only; elsewhere set LIBTORCH to a libtorch" >&2
    exit 1
fi
if ! "$PYTHON" -m pip --version > /dev/null 2>&1; then
    echo "error: $PYTHON has no pip, which downloads libtorch; install it or set PYTHON" >&2
    exit 1
fi

finish() {
    echo "libtorch $TORCH_VERSION ($kind) is in $HOME_OF_LIBTORCH: $(du -sh $HOME_OF_LIBTORCH | cut -f1)"
    echo "build with: cargo build --release --features tch"
}

stamp="$TORCH_VERSION $kind"
if [[ $(cat $HOME_OF_LIBTORCH/installed 2> /dev/null) == "$stamp" ]]; then
    finish
    exit 0
fi

# Beside the final place, so that an interrupted download leaves no half of a libtorch.
rm -rf $HOME_OF_LIBTORCH.part
trap 'rm -rf $HOME_OF_LIBTORCH.part' EXIT
install() {
    "$PYTHON" -m pip --disable-pip-version-check install --quiet --root-user-action=ignore --target $HOME_OF_LIBTORCH.part \
        --only-binary=:all: "$@"
}
if [[ $kind == cpu ]]; then
    echo "installing torch $TORCH_VERSION without what only a GPU needs: 0.5 GB to download"
    install --no-deps "torch==$TORCH_VERSION" "${runtime[@]}"
    lib=$HOME_OF_LIBTORCH.part/torch/lib
    rm -rf $lib/*cuda* $lib/*nvrtc* $lib/*nvshmem* $lib/*python* $HOME_OF_LIBTORCH.part/torch/bin
    # The real one asks for libtorch_cuda.so.
    echo 'INPUT(-ltorch_cpu)' > $lib/libtorch.so
else
    echo "installing torch $TORCH_VERSION with its CUDA packages: 2.5 GB to download"
    install "torch==$TORCH_VERSION" "${headers[@]}"
fi
rm -rf $HOME_OF_LIBTORCH
mv $HOME_OF_LIBTORCH.part $HOME_OF_LIBTORCH
echo "$stamp" > $HOME_OF_LIBTORCH/installed
# What was compiled against another libtorch does not notice the exchange by itself.
if [[ -d target/release ]]; then
    cargo clean --release --quiet -p torch-sys -p burn-tch -p train-cli 2> /dev/null || true
fi
finish

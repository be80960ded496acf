//! What a run can be told about optimisation, length and logs.

use config::section;
use host::Precision;

use crate::adamw::AdamWConfig;
use crate::spike::OnSpike;

fn not_negative(value: &f64) -> bool {
    *value >= 0.0 && value.is_finite()
}

section! {
    /// AdamW and its learning rate.
    pub struct OptimConfig: "optim" {
        /// Learning rate for 256 images; the peak is `blr` × effective batch / 256.
        blr: f64 = 1.5e-4, "0 or more" => not_negative;
        /// Peak learning rate itself; overrides `blr`.
        lr: Option<f64> = None, "0 or more" => |lr| lr.as_ref().is_none_or(not_negative);
        /// Learning rate at the end of the cosine.
        min_lr: f64 = 0.0, "0 or more" => not_negative;
        /// Epochs of linear warm-up from 0.
        warmup_epochs: f64 = 40.0, "0 or more" => not_negative;
        /// Decoupled weight decay; 1-D tensors and biases never decay.
        weight_decay: f64 = 0.05, "0 or more" => not_negative;
        /// Whether GRN's γ and β and the mask token decay, as they do in official pretraining.
        decay_grn: bool = true;
        /// Exponential decay rates of the two moments.
        betas: [f64; 2] = [0.9, 0.95], "two numbers in [0, 1)"
            => |betas| betas.iter().all(|beta| (0.0..1.0).contains(beta));
        /// Added to the root of the second moment.
        eps: f64 = 1e-8, "positive" => |eps| *eps > 0.0;
        /// Global L2 norm that gradients are scaled down to.
        clip_grad: Option<f64> = None, "positive (leave it out for no clipping)"
            => |norm| norm.is_none_or(|norm| norm > 0.0);
    }
    on resume {
        fixed: weight_decay, decay_grn, betas, eps;
        said: blr, lr, min_lr, warmup_epochs, clip_grad;
    }
}

section! {
    /// Batch size, length and checkpoints of a run.
    pub struct TrainConfig: "train" {
        /// Images of a process in one forward pass.
        batch_size: usize = 64, "at least 1" => |size| *size > 0;
        /// Forward passes whose gradients are averaged before an update.
        accumulate: usize = 1, "at least 1" => |count| *count > 0;
        /// Passes over the data; the schedule spans them.
        epochs: u64 = 800, "at least 1" => |epochs| *epochs > 0;
        /// Stops earlier, after this many updates; the schedule still spans `epochs`.
        max_steps: Option<u64> = None, "at least 1 (or left out)" => |steps| *steps != Some(0);
        /// Updates between checkpoints; 0 writes the last one only.
        checkpoint_every_steps: u64 = 1000;
        /// Minutes between checkpoints, beside those by steps; by the clock of rank 0 where several
        /// processes train.
        checkpoint_every_minutes: Option<f64> = None, "positive (or left out)"
            => |minutes| minutes.is_none_or(|minutes| minutes > 0.0);
        /// Checkpoints kept; 0 keeps all.
        keep_last: usize = 3;
        /// What is done about an update whose loss or gradient norm is `spike_factor` times the median of the
        /// last ones: `warn` makes it and says so, `skip` leaves it out and goes on with the next batches
        /// (also where it is not finite), `stop` ends the run before it. On a GPU the last two wait for every
        /// update.
        on_spike: OnSpike = OnSpike::Warn;
        /// How many times the median is too much.
        spike_factor: f64 = 10.0, "above 1" => |factor| *factor > 1.0;
        /// Numbers in which the heavy operations of a step compute; `bf16` needs a GPU.
        precision: Precision = Precision::F32;
        /// Whether blocks keep their input alone for the backward pass and compute the rest again there:
        /// larger batches or networks fit into memory, and a step takes about a fifth longer.
        recompute: bool = false;
        /// Whether products of f32 numbers may shorten their factors to TF32 on a GPU, which can be several times
        /// as fast: `true` all, `false` none; left out, convolutions alone, as in PyTorch.
        tf32: Option<bool> = None;
        /// Numbers in which gradients travel between processes, where there are several; `bf16` halves the bytes,
        /// and needs GPUs (or `model.kernels = "aten"`).
        reduce_precision: Precision = Precision::F32;
    }
    on resume {
        fixed: precision;
        said: tf32, epochs, max_steps, on_spike, spike_factor, reduce_precision;
        free: batch_size, accumulate, recompute, checkpoint_every_steps, checkpoint_every_minutes, keep_last;
    }
}

section! {
    /// What a run writes down while it trains.
    pub struct LogConfig: "log" {
        /// Updates between log lines.
        every_steps: u64 = 20, "at least 1" => |steps| *steps > 0;
        /// Updates between pictures; 0 draws one at the end only.
        pictures_every_steps: u64 = 1000;
        /// Seconds after which a run that does not move says what it waits for; 0 never does.
        stall_seconds: u64 = 300;
    }
    on resume { free: every_steps, pictures_every_steps, stall_seconds; }
}

impl OptimConfig {
    /// Peak learning rate for an effective batch.
    pub fn peak_lr(&self, effective_batch: usize) -> f64 {
        self.lr.unwrap_or(self.blr * effective_batch as f64 / 256.0)
    }

    /// What all parameter groups share.
    pub fn adamw(&self) -> AdamWConfig {
        AdamWConfig { betas: self.betas, eps: self.eps }
    }
}

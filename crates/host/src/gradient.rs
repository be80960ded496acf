//! Gradients as they are written: fused operations tell of each weight's, so that processes can begin to add
//! it up while the backward pass goes on.

use std::cell::RefCell;

use burn::backend::Autodiff;
use burn::backend::Flex;
use burn::backend::autodiff::NodeId;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DispatchTensor, Tensor};

use crate::backend::HostBackend;
use crate::libtorch;

/// What is told of a gradient: the node of the tensor that it is the gradient of, and its values.
pub type Listener = Box<dyn FnMut(NodeId, DispatchTensor)>;

thread_local! {
    static LISTENER: RefCell<Option<Listener>> = const { RefCell::new(None) };
}

/// Takes the listener away, however the work ends.
struct Listening;

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENER.take();
    }
}

/// Runs something, a backward pass, and tells `listener` of the gradients that fused operations of this thread
/// write meanwhile. Those of tensors that are used once are complete.
pub fn listen<T>(listener: Listener, run: impl FnOnce() -> T) -> T {
    LISTENER.set(Some(listener));
    let _listening = Listening;
    run()
}

/// Tells who listens of the gradient of a node.
pub fn written<B: HostBackend>(node: NodeId, gradient: &FloatTensor<B>) {
    LISTENER.with_borrow_mut(|listener| {
        if let Some(listener) = listener {
            listener(node, B::dispatch(gradient.clone()));
        }
    });
}

/// The node of a tensor with autodiff; none without it.
pub fn node_of<const D: usize>(tensor: &Tensor<D>) -> Option<NodeId> {
    let node = tensor.clone().try_into_primitive::<Autodiff<Flex>>().map(|tensor| tensor.id());
    node.ok().or_else(|| libtorch::node_of(tensor))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use burn::tensor::Device;

    use super::*;

    #[test]
    fn who_listens_is_told_until_the_end() {
        let tensor = Tensor::<1>::ones([2], &Device::flex().autodiff());
        let node = node_of(&tensor).unwrap();
        assert_eq!(node_of(&tensor.clone().inner()), None);
        let gradient = Tensor::<1>::full([2], 3.0, &Device::flex());
        let gradient = gradient.try_into_primitive::<Flex>().unwrap();
        written::<Flex>(node, &gradient);
        let heard = Rc::new(RefCell::new(Vec::new()));
        let listener = {
            let heard = Rc::clone(&heard);
            Box::new(move |node, gradient| {
                let values = Tensor::<1>::from_dispatch(gradient).into_data().try_into_vec::<f32>().unwrap();
                heard.borrow_mut().push((node, values));
            })
        };
        listen(listener, || written::<Flex>(node, &gradient));
        written::<Flex>(node, &gradient);
        assert_eq!(*heard.borrow(), [(node, vec![3.0; 2])]);
    }

    #[test]
    fn the_node_of_a_parameter_is_known_on_every_processor() {
        for device in crate::processors() {
            let tensor = Tensor::<1>::ones([2], &device.autodiff()).require_grad();
            assert_eq!(node_of(&tensor), node_of(&tensor.clone()));
            assert!(node_of(&tensor).is_some());
        }
    }
}

//! A node of the graph of a module.

/// A node of the graph of a module, such as a layer or a parameter: given to
/// [`MetricLog::graph`](crate::log::MetricLog::graph).
///
/// ```
/// use regimen::log::{GraphNode, MetricLog};
///
/// let log = MetricLog::tensorboard("runs/digits").graph([
///     GraphNode::new("input", "Input").shape([64, 784]),
///     GraphNode::new("net/hidden/weight", "Parameter").shape([784, 32]),
///     GraphNode::new("net/hidden/linear", "Linear").input("input").input("net/hidden/weight"),
/// ]);
/// # drop(log);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphNode {
    pub(super) name: String,
    pub(super) op: String,
    pub(super) inputs: Vec<String>,
    pub(super) shape: Option<Vec<u64>>,
}

impl GraphNode {
    /// A node with a unique name and an operation, such as `Conv2d`. A `/` in the name nests the node in a
    /// group. A group is no node: do not name one `net` and another `net/linear`.
    pub fn new(name: impl Into<String>, op: impl Into<String>) -> Self {
        GraphNode { name: name.into(), op: op.into(), inputs: Vec::new(), shape: None }
    }

    /// Adds an edge from the node of that name.
    pub fn input(mut self, name: impl Into<String>) -> Self {
        self.inputs.push(name.into());
        self
    }

    /// The shape of its output. Default: unknown.
    pub fn shape(mut self, sizes: impl Into<Vec<u64>>) -> Self {
        self.shape = Some(sizes.into());
        self
    }
}

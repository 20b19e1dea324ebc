//! The costs of layers, out of the operations that libtorch runs.

use std::collections::BTreeMap;
use std::ops::Range;

use regimen_core::engine::{Cost, Work};

use crate::parameters::Parameters;
use crate::shim::record::{Node, Operation, recorded};

/// The costs measured so far.
///
/// An operation counts for the layer of the first variable that it reads. One without a variable counts for
/// the innermost module that holds the layers before and after it, and a node of the backward pass for the
/// layer of the operation that made it.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    by_layer: BTreeMap<String, Cost>,
    /// The layers of the nodes that wait for a backward pass, by their numbers.
    nodes: Vec<(Range<u64>, String)>,
}

impl Costs {
    /// Calls `f`, a forward pass.
    pub(crate) fn forward<R>(&mut self, parameters: &Parameters, f: impl FnOnce() -> R) -> R {
        let (result, operations) = recorded(parameters.all().values(), f);
        let layers = layers(parameters);
        let own = |operation: &Operation| operation.variable.map(|i| layers[i]);
        let mut before = None;
        for (i, operation) in operations.iter().enumerate() {
            let own = own(operation);
            let layer = own.unwrap_or_else(|| {
                let after = operations[i..].iter().find_map(|later| later.variable.map(|i| layers[i]));
                common(before.unwrap_or_default(), after.unwrap_or_default())
            });
            before = own.or(before);
            self.own(&operation.nodes, layer);
            let cost = self.of(layer);
            cost.forward += work(operation);
            if own.is_some() && operation.output.is_some() {
                cost.output.clone_from(&operation.output);
            }
        }
        result
    }

    /// Calls `f`, a backward pass.
    pub(crate) fn backward<R>(&mut self, parameters: &Parameters, f: impl FnOnce() -> R) -> R {
        let (result, operations) = recorded(parameters.all().values(), f);
        let layers = layers(parameters);
        let mut of_node = String::new();
        for operation in &operations {
            match operation.node {
                Some(Node::Numbered(number)) => of_node = self.of_node(number).to_owned(),
                Some(Node::Adds) => {}
                None => of_node.clear(),
            }
            let layer = operation.variable.map_or(&*of_node, |i| layers[i]);
            self.own(&operation.nodes, layer);
            self.of(layer).backward += work(operation);
        }
        result
    }

    /// In the order of the layers' paths.
    pub(crate) fn all(&self) -> Vec<Cost> {
        self.by_layer.values().cloned().collect()
    }

    fn own(&mut self, nodes: &Range<u64>, layer: &str) {
        if !nodes.is_empty() {
            self.nodes.push((nodes.clone(), layer.to_owned()));
        }
    }

    /// The layer of a node. One that no operation of a layer has made is of the module.
    fn of_node(&self, number: u64) -> &str {
        let made = self.nodes.iter().rev().find(|(nodes, _)| nodes.contains(&number));
        made.map_or("", |(_, layer)| layer)
    }

    fn of(&mut self, layer: &str) -> &mut Cost {
        let none = Work { flops: Some(0), ..Work::default() };
        let cost = || Cost { layer: layer.to_owned(), output: None, forward: none, backward: none };
        self.by_layer.entry(layer.to_owned()).or_insert_with(cost)
    }
}

fn work(operation: &Operation) -> Work {
    Work { flops: Some(operation.flops), time: operation.time }
}

/// The layer of each variable.
fn layers(parameters: &Parameters) -> Vec<&str> {
    parameters.all().keys().map(|name| name.rsplit_once('.').map_or("", |(layer, _)| layer)).collect()
}

/// The innermost module that holds both, or is one of them and holds the other.
fn common<'a>(one: &'a str, other: &str) -> &'a str {
    let parts = one.split('.').zip(other.split('.'));
    let same = parts.take_while(|(one, other)| one == other).map(|(part, _)| part.len() + 1).sum::<usize>();
    &one[..same.saturating_sub(1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_module_of_two_layers_is_a_prefix_of_whole_names() {
        let check = |one, other, expected| {
            assert_eq!(common(one, other), expected, "{one} {other}");
            assert_eq!(common(other, one), expected, "{other} {one}");
        };
        check("blocks.0.attention.q", "blocks.0.attention.k", "blocks.0.attention");
        check("blocks.0.linear", "blocks.01.linear", "blocks");
        check("0", "1", "");
        check("a.b", "a", "a");
        check("a", "a", "a");
        check("a", "", "");
        check("", "", "");
    }
}

//! The variables of a model by name, and the trained ones in the order of their creation.

use std::collections::BTreeMap;

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_core::saved::{Array, Dtype, StateDict};
use tch::Tensor;
use tch::nn::VarStore;

use crate::array::{dtype, shape};
use crate::failure::failure;
use crate::stretch::stretches;

/// Everything in a [`VarStore`]. The tensors are the model's own, not copies.
#[derive(Debug)]
pub(crate) struct Parameters {
    /// Parameters and buffers by name.
    all: BTreeMap<String, Tensor>,
    /// The names of the trained ones, in the order of their creation.
    names: Vec<String>,
    /// The tensors of those names.
    trained: Vec<Tensor>,
    /// Their numbers in the order of the names.
    sorted: Vec<usize>,
    /// The names of variables that are never trained: running statistics, but not those frozen beforehand.
    buffers: Vec<String>,
}

impl Parameters {
    /// The variables of `vars`. A parameter under two names, and a trained one with gaps in memory, are
    /// errors that name it. Kernels walk over the memory of a parameter, its gradient and its state in
    /// parallel.
    pub(crate) fn of(vars: &VarStore) -> Result<Self, BoxError> {
        let all: BTreeMap<String, Tensor> = vars.variables().into_iter().collect();
        // A store is a hash map, except for the list of trainable variables. Two tensors are the same if
        // their data is. The order of tensors without data does not matter.
        let mut by_data: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (name, tensor) in &all {
            let names = by_data.entry(address(tensor)).or_default();
            names.push(name);
            if let [first, second] = names[..]
                && tensor.numel() != 0
            {
                return Err(format!(
                    "`{first}` and `{second}` are one parameter: give it one name and use it twice"
                )
                .into());
            }
        }
        let mut names: Vec<&str> = Vec::new();
        for tensor in vars.trainable_variables() {
            names.extend(by_data.remove(&address(&tensor)).unwrap_or_default());
        }
        let buffers = all.keys().filter(|name| !names.contains(&&***name)).cloned().collect();
        names.retain(|name| all[*name].requires_grad());
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let trained: Vec<Tensor> = names.iter().map(|name| all[name].shallow_clone()).collect();
        if let Some(i) = trained.iter().position(|tensor| !tensor.is_contiguous()) {
            return Err(format!(
                "the elements of `{}` do not lie one after another: give the store a `contiguous()` copy",
                names[i]
            )
            .into());
        }
        let mut sorted: Vec<usize> = (0..names.len()).collect();
        sorted.sort_by_key(|&i| &names[i]);
        Ok(Parameters { all, trained, sorted, names, buffers })
    }

    /// Parameters and buffers, in the order of their names.
    pub(crate) fn all(&self) -> &BTreeMap<String, Tensor> {
        &self.all
    }

    /// The names of the trained ones, in the order of their creation.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The variables that are never trained, in the order of the names.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.buffers.iter().map(|name| (&**name, &self.all[name]))
    }

    /// Whether the variable of that name is never trained.
    pub(crate) fn is_buffer(&self, name: &str) -> bool {
        self.buffers.iter().any(|buffer| buffer == name)
    }

    /// The trained ones, in the same order.
    pub(crate) fn trained(&self) -> &[Tensor] {
        &self.trained
    }

    /// The numbers of the trained ones, in the order of their names.
    pub(crate) fn sorted(&self) -> &[usize] {
        &self.sorted
    }

    /// The trained ones with their names, in the order of these.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.sorted.iter().map(|&i| (&*self.names[i], &self.trained[i]))
    }

    /// Passes on those that are not frozen, in the order of their names, with negative zeros for those that are not its
    /// own. Takes up the values left there, buffer by buffer.
    pub(crate) fn exchange(
        &self,
        bytes: usize,
        on_device: bool,
        is_own: &dyn Fn(&str) -> bool,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let values = |name: &str, parameter: &Tensor| {
            let own = parameter.f_detach().map_err(failure)?;
            if is_own(name) { Ok(own) } else { own.f_full_like(-0.0).map_err(failure) }
        };
        let learning = self.by_name().filter(|(_, parameter)| parameter.requires_grad());
        for stretch in stretches(learning, bytes) {
            let mut exchanged = stretch.exchanged(on_device, values, exchange)?.into_iter();
            tch::no_grad(|| {
                exchanged.try_for_each(|(own, new)| own.shallow_clone().f_copy_(&new).map_err(failure))
            })?;
        }
        Ok(())
    }

    /// Checks that every array of `dict` is for a trained parameter, with its type and shape.
    pub(crate) fn check_gradients(&self, dict: &StateDict) -> Result<(), BoxError> {
        let mut wrong = Vec::new();
        for (name, array) in dict.iter() {
            match self.all.get(name) {
                None => wrong.push(format!("`{name}` is not known here")),
                Some(_) if !self.names.iter().any(|trained| trained == name) => {
                    wrong.push(format!("`{name}` is not trained"));
                }
                Some(tensor) => wrong.extend(mismatch(name, array, dtype(tensor.kind())?, &shape(tensor))),
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("gradients: {}", wrong.join("; ")).into()) }
    }
}

/// The difference between `array` and one of that type and shape, if any.
pub(crate) fn mismatch(name: &str, array: &Array, dtype: Dtype, shape: &[usize]) -> Option<String> {
    let fits = (array.dtype(), array.shape()) == (dtype, shape);
    (!fits).then(|| format!("`{name}` is {array:?}, not {dtype:?}{shape:?}"))
}

fn address(tensor: &Tensor) -> usize {
    tensor.data_ptr() as usize
}

#[cfg(test)]
mod tests {
    use tch::nn::{self, Init};
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn what_is_trained_is_in_the_order_it_was_made_in_and_all_by_name() {
        let vars = VarStore::new(Device::Cpu);
        let root = vars.root();
        for name in ["z", "a", "m"] {
            nn::linear(&root / name, 2, 2, Default::default());
        }
        nn::batch_norm1d(&root / "b", 2, Default::default());
        let parameters = Parameters::of(&vars).unwrap();
        let expected =
            ["z.weight", "z.bias", "a.weight", "a.bias", "m.weight", "m.bias", "b.weight", "b.bias"];
        // tch makes the bias first in some layers; only the order of layers counts.
        let layers = |names: &[String]| names.iter().map(|name| name[..1].to_owned()).collect::<Vec<_>>();
        assert_eq!(layers(parameters.names()), layers(&expected.map(str::to_owned)));
        let all: Vec<&String> = parameters.all().keys().collect();
        assert!(all.is_sorted() && all.iter().any(|name| *name == "b.running_mean"));
        assert_eq!(parameters.by_name().next().unwrap().0, "a.bias");
    }

    #[test]
    fn what_is_frozen_is_not_trained() {
        let mut vars = VarStore::new(Device::Cpu);
        nn::linear(vars.root() / "a", 2, 2, Default::default());
        vars.freeze();
        assert!(Parameters::of(&vars).unwrap().names().is_empty());
    }

    #[test]
    fn a_parameter_under_two_names_is_an_error_that_says_which() {
        let vars = VarStore::new(Device::Cpu);
        let tensor = vars.root().var("first", &[2], Init::Const(0.0));
        vars.variables_.lock().unwrap().named_variables.insert("second".into(), tensor);
        let error = Parameters::of(&vars).unwrap_err().to_string();
        assert!(error.starts_with("`first` and `second` are one parameter"), "{error}");
    }

    #[test]
    fn a_parameter_that_is_a_view_with_gaps_is_refused_by_name() {
        let vars = VarStore::new(Device::Cpu);
        let transposed = Tensor::zeros([3, 2], (Kind::Float, Device::Cpu)).transpose(0, 1);
        let _ = vars.root().add("w", transposed, true);
        let error = Parameters::of(&vars).unwrap_err().to_string();
        assert!(error.starts_with("the elements of `w` do not lie one after another"), "{error}");
    }

    #[test]
    fn gradients_that_do_not_fit_are_named_all_at_once() {
        let vars = VarStore::new(Device::Cpu);
        let _ = vars.root().var("w", &[2], Init::Const(0.0));
        let _ = vars.root().zeros_no_train("fixed", &[2]);
        let mut dict = StateDict::new();
        for name in ["fixed", "other", "w"] {
            dict.insert(name, crate::array::array(&Tensor::zeros([3], (Kind::Float, Device::Cpu))).unwrap())
                .unwrap();
        }
        assert_eq!(
            Parameters::of(&vars).unwrap().check_gradients(&dict).unwrap_err().to_string(),
            "gradients: `fixed` is not trained; `other` is not known here; `w` is F32[3], not F32[2]"
        );
    }
}

//! The toy engine with one habit broken.

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use regimen_core::engine::{Bucket, Cost, Engine, Mode, Part, Precision, Role, Value, Variable};
use regimen_core::saved::{Array, Dtype, StateDict};
use regimen_core::{BoxError, Loss};
use regimen_test::engine_suite::EngineFixture;
use regimen_test::toy::{ToyArray, ToyDevice, ToyEngine, ToyMlp, ToyWeights, manual_seed};

use super::toy::Toy;

/// The defect of a [`BrokenEngine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    IgnoresTheSeed,
    SeedsAlike,
    SeedsByProcess,
    SumsWithoutWeights,
    SumsWithoutGraphs,
    SumsNothing,
    IgnoresTheFactor,
    ForgetsHeldGradients,
    ScalesSlightlyOff,
    NormOmitsAParameter,
    ClampsFromAbove,
    ClipsWholeParameters,
    ClipsWithoutAFloor,
    ClipsUnitsSlightlyOff,
    ClipsUnitsToZeroAtNan,
    OverlooksNan,
    KeepsGradientsNotGiven,
    SetsNoGradients,
    DiscardsNothing,
    IgnoresTheBucketSize,
    ReversesBuckets,
    IgnoresTheExchange,
    LosesGradientsInExchange,
    HoldsWhatNobodyHeld,
    DropsGradientsOfOthers,
    PassesNoFlags,
    OverlapsWithoutTheFactor,
    OverlapsWithoutTheMean,
    OverlapsOverErrors,
    PassesNoBuffers,
    PassesEmptyBuffers,
    ReversesBuffers,
    TakesUpNoBuffers,
    ChangesBuffersInFailedExchange,
    TruncatesIntegers,
    MovesWeightsWithBuffers,
    RetainsAllGradients,
    MovesUnreachedParameters,
    ReversesParameters,
    ExchangesFrozenParameters,
    TakesUpNoParameters,
    IgnoresOwners,
    StepKeepsGradients,
    UsesOneRate,
    TakesAnyRates,
    IgnoresMomentum,
    RestartsAtMomentum,
    LeavesOutNoMomentum,
    MovesAtNan,
    EvaluatesInTraining,
    RecordsEvaluation,
    StaysInEvaluation,
    ChecksNothing,
    LoadsHalf,
    SavesNoOptimizer,
    LoadsNoOptimizer,
    SavesNoBuffers,
    LosesGradientsInPanic,
    IgnoresThePrecision,
    KeepsThePrecision,
    FreezesNothing,
    FreezesByRateAlone,
    BlendsTooFar,
    BlendsNoBuffers,
    SwapsNothing,
    SwapsOneWay,
    HidesGradients,
    CallsHeldReached,
    NamesTheFrozen,
    ReachesByExchange,
    ReachesAllAtOnce,
    ReadsEachLoss,
    ReadsEachNorm,
    SkipsNothing,
    CallsTheFrozenTrained,
    ListsNoBuffers,
    MeasuresForEver,
    ScalesWhileMeasuring,
    KeepsNoBuffers,
    RestoresNoBuffersAtNan,
}

/// The fixture of an engine with a defect.
pub(crate) struct Broken {
    pub(crate) defect: Defect,
    pub(crate) test: &'static str,
}

impl EngineFixture for Broken {
    type Engine = BrokenEngine;
    type Batch = <Toy as EngineFixture>::Batch;

    fn plain(&self) -> BrokenEngine {
        BrokenEngine::new(Toy.plain(), self.defect)
    }

    fn regularized(&self) -> BrokenEngine {
        BrokenEngine::new(Toy.regularized(), self.defect)
    }

    fn reading_later(&self, engine: BrokenEngine) -> Option<BrokenEngine> {
        Some(BrokenEngine::new(Toy.reading_later(engine.engine)?, self.defect))
    }

    fn host_reads() -> u64 {
        Toy::host_reads()
    }

    fn with_momentum(&self) -> Option<BrokenEngine> {
        Some(BrokenEngine::new(Toy.with_momentum()?, self.defect))
    }

    fn with_integer_buffer(&self) -> Option<BrokenEngine> {
        Some(BrokenEngine::new(Toy.with_integer_buffer()?, self.defect))
    }

    fn with_unused_part(&self) -> Option<(BrokenEngine, Vec<&'static str>)> {
        let (engine, unused) = Toy.with_unused_part()?;
        Some((BrokenEngine::new(engine, self.defect), unused))
    }

    fn batch(&self, rows: Range<u64>) -> Self::Batch {
        Toy.batch(rows)
    }

    fn misshapen(&self) -> Self::Batch {
        Toy.misshapen()
    }

    fn loss(&self, mode: Mode, mlp: &ToyMlp, batch: &Self::Batch) -> Result<Loss<ToyArray>, BoxError> {
        Toy.loss(mode, mlp, batch)
    }

    fn unit_dimension(&self, parameter: &str) -> usize {
        Toy.unit_dimension(parameter)
    }

    fn tolerance(&self) -> f64 {
        Toy.tolerance()
    }

    fn test_name(&self) -> &str {
        self.test
    }
}

thread_local! {
    /// Whether the numbers that were left on the device cannot be read, on this thread.
    pub(crate) static READS_FAIL: Cell<bool> = const { Cell::new(false) };

    /// The defect of the engines of this thread, for functions without an engine.
    static DEFECT: Cell<Defect> = const { Cell::new(Defect::None) };
}

/// Exchanges a bucket back to front.
fn reversed(
    bucket: Bucket<'_>,
    exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    match bucket {
        Bucket::F64(elements) => {
            elements.reverse();
            let result = exchange(Bucket::F64(elements));
            elements.reverse();
            result
        }
        bucket => exchange(bucket),
    }
}

/// The toy engine with a defect.
pub(crate) struct BrokenEngine {
    engine: ToyEngine<ToyMlp>,
    defect: Defect,
    /// Parameters that were unreached and are frozen since.
    frozen: Vec<String>,
}

impl BrokenEngine {
    fn new(engine: ToyEngine<ToyMlp>, defect: Defect) -> Self {
        DEFECT.set(defect);
        BrokenEngine { engine, defect, frozen: Vec::new() }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    /// Halves every parameter and buffer.
    fn halve(&mut self) -> Result<(), BoxError> {
        let mut halved = StateDict::new();
        for (name, array) in self.engine.state(Part::Module)? {
            let numbers: Vec<f64> = array.to_vec()?.into_iter().map(|number: f64| number / 2.0).collect();
            let bytes = Array::from_slice(&numbers).into_bytes();
            halved.insert(name, Array::new(array.dtype(), array.shape().to_vec(), bytes)?)?;
        }
        self.engine.load_state(Part::Module, &halved)
    }

    fn load_module(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let mut whole = self.engine.state(Part::Module)?;
        let result = self.state(Part::Module)?.check_same_layout(dict);
        if result.is_err() && !self.has(Defect::LoadsHalf) {
            return result;
        }
        for (name, array) in self.engine.state(Part::Module)? {
            if let Ok(new) = dict.array(&name)
                && (new.dtype(), new.shape()) == (array.dtype(), array.shape())
            {
                whole.remove(&name)?;
                whole.insert(name, new.clone())?;
            }
        }
        self.engine.load_state(Part::Module, &whole)?;
        result
    }
}

impl Engine for BrokenEngine {
    type Module = ToyMlp;
    type Scalar = ToyArray;
    type Device = ToyDevice;
    type Weights = ToyWeights;

    fn module(&self) -> &ToyMlp {
        self.engine.module()
    }

    fn with_module<R>(&mut self, mode: Mode, f: impl FnOnce(&ToyMlp) -> R) -> R {
        match self.defect {
            Defect::EvaluatesInTraining => self.engine.with_module(Mode::Train, f),
            Defect::RecordsEvaluation => {
                let before = self.engine.vars().set_training(mode == Mode::Train);
                let result = catch_unwind(AssertUnwindSafe(|| f(self.engine.module())));
                self.engine.vars().set_training(before);
                result.unwrap_or_else(|panic| resume_unwind(panic))
            }
            Defect::StaysInEvaluation => {
                let result = self.engine.with_module(mode, f);
                self.engine.vars().set_training(mode == Mode::Train);
                result
            }
            Defect::LosesGradientsInPanic => {
                let result = catch_unwind(AssertUnwindSafe(|| self.engine.with_module(mode, f)));
                result.unwrap_or_else(|panic| {
                    self.engine.discard_gradients();
                    resume_unwind(panic)
                })
            }
            _ => self.engine.with_module(mode, f),
        }
    }

    fn device(&self, mode: Mode) -> ToyDevice {
        self.engine.device(mode)
    }

    fn set_precision(&mut self, precision: Precision) -> Result<(), BoxError> {
        match self.defect {
            Defect::IgnoresThePrecision => Ok(()),
            Defect::KeepsThePrecision if precision == Precision::F32 => Ok(()),
            _ => self.engine.set_precision(precision),
        }
    }

    fn seed(&mut self, seed: u64) {
        match self.defect {
            Defect::IgnoresTheSeed => {}
            Defect::SeedsAlike => manual_seed(0),
            Defect::SeedsByProcess => manual_seed(seed ^ u64::from(std::process::id())),
            _ => self.engine.seed(seed),
        }
    }

    fn detach(&self, scalar: &ToyArray) -> Result<Value<ToyArray>, BoxError> {
        let value = self.engine.detach(scalar)?;
        match value {
            Value::Device(scalar) if self.has(Defect::ReadsEachLoss) => {
                Ok(Value::Host(Self::read(&[scalar])?.into_iter().sum()))
            }
            value => Ok(value),
        }
    }

    fn read(scalars: &[ToyArray]) -> Result<Vec<f64>, BoxError> {
        if READS_FAIL.get() {
            return Err("the device is gone".into());
        }
        ToyEngine::<ToyMlp>::read(scalars)
    }

    fn clip_gradient_norm(&mut self, limit: f64) -> Result<Value<ToyArray>, BoxError> {
        match self.defect {
            Defect::NormOmitsAParameter | Defect::ScalesSlightlyOff | Defect::ReadsEachNorm => {
                let norm = self.gradient_norm()?;
                if limit < norm && norm.is_finite() {
                    self.scale_gradients(limit / norm)?;
                }
                Ok(Value::Host(norm))
            }
            _ => self.engine.clip_gradient_norm(limit),
        }
    }

    fn skip_unless_finite(&mut self, scalar: &ToyArray) -> Result<bool, BoxError> {
        match self.defect {
            Defect::SkipsNothing => Ok(true),
            Defect::RestoresNoBuffersAtNan => {
                self.engine.keep_buffers()?;
                self.engine.skip_unless_finite(scalar)
            }
            _ => self.engine.skip_unless_finite(scalar),
        }
    }

    fn keep_buffers(&mut self) -> Result<(), BoxError> {
        if self.has(Defect::KeepsNoBuffers) { Ok(()) } else { self.engine.keep_buffers() }
    }

    fn restore_buffers(&mut self, of: Option<&[bool]>) -> Result<(), BoxError> {
        if self.has(Defect::KeepsNoBuffers) { Ok(()) } else { self.engine.restore_buffers(of) }
    }

    fn weighted_sum(terms: &[(f64, &ToyArray)]) -> Result<ToyArray, BoxError> {
        let sum = ToyEngine::<ToyMlp>::weighted_sum;
        match (DEFECT.get(), terms) {
            (Defect::SumsWithoutWeights, _) => {
                sum(&terms.iter().map(|(_, term)| (1.0, *term)).collect::<Vec<_>>())
            }
            (Defect::SumsWithoutGraphs, [first, others @ ..]) => {
                let cut = others
                    .iter()
                    .map(|(weight, term)| (*weight, ToyArray::new(term.shape(), &term.values())));
                let cut: Vec<_> = cut.collect();
                let cut = cut.iter().map(|(weight, term)| (*weight, term));
                sum(&[*first].into_iter().chain(cut).collect::<Vec<_>>())
            }
            (Defect::SumsNothing, []) => Ok(ToyArray::new(&[], &[0.0])),
            _ => sum(terms),
        }
    }

    fn backward(&mut self, loss: &ToyArray, factor: Option<f64>) -> Result<(), BoxError> {
        if self.has(Defect::ForgetsHeldGradients) {
            self.engine.discard_gradients();
        }
        let factor = match self.defect {
            Defect::IgnoresTheFactor => None,
            Defect::ScalesWhileMeasuring if !self.costs().is_empty() => Some(factor.unwrap_or(1.0) * 1.0001),
            _ => factor,
        };
        self.engine.backward(loss, factor)
    }

    fn scale_gradients(&mut self, factor: f64) -> Result<(), BoxError> {
        let off = if self.has(Defect::ScalesSlightlyOff) { 1.0 + 1e-9 } else { 1.0 };
        self.engine.scale_gradients(factor * off)
    }

    fn gradient_norm(&mut self) -> Result<f64, BoxError> {
        if self.has(Defect::NormOmitsAParameter) {
            let held = self.engine.state(Part::Gradients)?;
            let mut part = held.clone();
            if let Some((name, _)) = held.iter().last() {
                part.remove(name)?;
            }
            self.engine.load_state(Part::Gradients, &part)?;
            let norm = self.engine.gradient_norm();
            self.engine.load_state(Part::Gradients, &held)?;
            return norm;
        }
        self.engine.gradient_norm()
    }

    fn clip_gradient_units(&mut self, factor: f64, floor: f64) -> Result<(), BoxError> {
        match self.defect {
            Defect::ClipsWholeParameters => {
                // Every parameter is one row.
                let held = self.engine.state(Part::Gradients)?;
                let module = self.engine.state(Part::Module)?;
                let mut clipped = StateDict::new();
                for (name, array) in held {
                    let norm = |elements: &[f64]| elements.iter().map(|x| x * x).sum::<f64>().sqrt();
                    let limit = factor * norm(&module.array(&name)?.to_vec::<f64>()?).max(floor);
                    let mut gradient = array.to_vec::<f64>()?;
                    let scale = (limit / norm(&gradient)).min(1.0);
                    gradient.iter_mut().for_each(|element| *element *= scale);
                    let bytes = Array::from_slice(&gradient).into_bytes();
                    clipped.insert(name, Array::new(array.dtype(), array.shape().to_vec(), bytes)?)?;
                }
                self.engine.load_state(Part::Gradients, &clipped)
            }
            Defect::ClipsWithoutAFloor => self.engine.clip_gradient_units(factor, 0.0),
            Defect::ClipsUnitsSlightlyOff => self.engine.clip_gradient_units(factor * (1.0 + 1e-9), floor),
            Defect::ClipsUnitsToZeroAtNan if !self.engine.gradients_are_finite()? => {
                self.engine.scale_gradients(0.0)?;
                self.engine.clip_gradient_values(0.0)
            }
            _ => self.engine.clip_gradient_units(factor, floor),
        }
    }

    fn clip_gradient_values(&mut self, limit: f64) -> Result<(), BoxError> {
        if self.has(Defect::ClampsFromAbove) {
            return self.engine.exchange_gradients(usize::MAX, &mut |bucket| {
                if let Bucket::F64(elements) = bucket {
                    elements.iter_mut().for_each(|element| *element = element.min(limit));
                }
                Ok(())
            });
        }
        self.engine.clip_gradient_values(limit)
    }

    fn gradients_are_finite(&mut self) -> Result<bool, BoxError> {
        let finite = self.engine.gradients_are_finite()?;
        if self.has(Defect::MovesAtNan) && !finite {
            self.halve()?;
        }
        Ok(finite || self.has(Defect::OverlooksNan))
    }

    fn unreached(&self) -> Result<Vec<String>, BoxError> {
        let all = || self.engine.vars().parameters().keys().cloned();
        let unreached = self.engine.unreached()?;
        if self.has(Defect::None) {
            return Ok(unreached);
        }
        let held = self.engine.state(Part::Gradients)?;
        Ok(match self.defect {
            Defect::CallsHeldReached => all().filter(|name| !held.contains(name)).collect(),
            Defect::ReachesByExchange => unreached.into_iter().filter(|name| !held.contains(name)).collect(),
            Defect::ReachesAllAtOnce if unreached.len() < all().count() => Vec::new(),
            Defect::NamesTheFrozen if !held.is_empty() => self.frozen.clone(),
            _ => unreached,
        })
    }

    fn discard_gradients(&mut self) {
        if !self.has(Defect::DiscardsNothing) {
            self.engine.discard_gradients();
        }
    }

    fn exchange_gradients(
        &mut self,
        bytes: usize,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let held = self.engine.state(Part::Gradients)?;
        match self.defect {
            Defect::IgnoresTheBucketSize => self.engine.exchange_gradients(usize::MAX, exchange),
            Defect::ReversesBuckets => {
                self.engine.exchange_gradients(bytes, &mut |bucket| reversed(bucket, exchange))
            }
            Defect::IgnoresTheExchange => {
                self.engine.exchange_gradients(bytes, exchange)?;
                self.engine.load_state(Part::Gradients, &held)
            }
            Defect::LosesGradientsInExchange => {
                let result = self.engine.exchange_gradients(bytes, exchange);
                if result.is_err() {
                    self.engine.discard_gradients();
                }
                result
            }
            Defect::HoldsWhatNobodyHeld => {
                self.engine.exchange_gradients(bytes, &mut |bucket| match bucket {
                    Bucket::F32(flags) => {
                        exchange(Bucket::F32(flags))?;
                        flags.fill(1.0);
                        Ok(())
                    }
                    bucket => exchange(bucket),
                })
            }
            Defect::DropsGradientsOfOthers => {
                self.engine.exchange_gradients(bytes, exchange)?;
                let mut own = StateDict::new();
                for (name, array) in self.engine.state(Part::Gradients)? {
                    if held.contains(&name) {
                        own.insert(name, array)?;
                    }
                }
                self.engine.load_state(Part::Gradients, &own)
            }
            Defect::PassesNoFlags => self.engine.exchange_gradients(bytes, &mut |bucket| match bucket {
                Bucket::F32(_) => Ok(()),
                bucket => exchange(bucket),
            }),
            _ => self.engine.exchange_gradients(bytes, exchange),
        }
    }

    fn backward_and_exchange(
        &mut self,
        loss: Option<&ToyArray>,
        factor: Option<f64>,
        mean: Option<f64>,
        bytes: usize,
        exchange: &mut (dyn FnMut(Bucket<'_>) -> Result<(), BoxError> + Send),
    ) -> Result<(), BoxError> {
        let engine = &mut self.engine;
        match self.defect {
            Defect::OverlapsWithoutTheFactor => {
                engine.backward_and_exchange(loss, None, mean, bytes, exchange)
            }
            Defect::OverlapsWithoutTheMean => {
                engine.backward_and_exchange(loss, factor, None, bytes, exchange)
            }
            Defect::OverlapsOverErrors => {
                let over = &mut |bucket: Bucket<'_>| exchange(bucket).or(Ok(()));
                engine.backward_and_exchange(loss, factor, mean, bytes, over)
            }
            _ => engine.backward_and_exchange(loss, factor, mean, bytes, exchange),
        }
    }

    fn retain_gradients(&mut self, keep: &dyn Fn(&str) -> bool) -> Result<(), BoxError> {
        let all = |_: &str| true;
        self.engine.retain_gradients(if self.has(Defect::RetainsAllGradients) { &all } else { keep })
    }

    fn exchange_parameters(
        &mut self,
        bytes: usize,
        is_own: &dyn Fn(&str) -> bool,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        match self.defect {
            Defect::ReversesParameters => {
                self.engine.exchange_parameters(bytes, is_own, &mut |bucket| reversed(bucket, exchange))
            }
            Defect::ExchangesFrozenParameters => {
                let groups = self.engine.groups().len();
                let tracked = self.engine.variables()?;
                self.engine.freeze(&vec![false; groups])?;
                self.engine.exchange_parameters(bytes, is_own, exchange)?;
                let is_frozen = |name: &str| {
                    tracked.iter().any(|own| own.name.ends_with(name) && own.role == Role::Frozen)
                };
                self.engine.freeze(&(0..groups).map(|n| n == 1 && is_frozen("bias")).collect::<Vec<_>>())
            }
            Defect::TakesUpNoParameters => {
                let before = self.engine.state(Part::Module)?;
                self.engine.exchange_parameters(bytes, is_own, exchange)?;
                self.engine.load_state(Part::Module, &before)
            }
            Defect::IgnoresOwners => self.engine.exchange_parameters(bytes, &|_| true, exchange),
            _ => self.engine.exchange_parameters(bytes, is_own, exchange),
        }
    }

    fn exchange_buffers(
        &mut self,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let variables = self.variables()?;
        match self.defect {
            Defect::PassesNoBuffers => Ok(()),
            Defect::PassesEmptyBuffers if self.engine.vars().buffers().is_empty() => {
                exchange(Bucket::F64(&mut []))
            }
            Defect::ReversesBuffers => self.engine.exchange_buffers(&mut |bucket| reversed(bucket, exchange)),
            Defect::TakesUpNoBuffers => self.engine.exchange_buffers(&mut |bucket| match bucket {
                Bucket::F64(elements) => exchange(Bucket::F64(&mut elements.to_vec())),
                bucket => exchange(bucket),
            }),
            Defect::ChangesBuffersInFailedExchange => {
                let mut result = Ok(());
                self.engine.exchange_buffers(&mut |bucket| {
                    result = exchange(bucket);
                    Ok(())
                })?;
                result
            }
            Defect::TruncatesIntegers => self.engine.exchange_buffers(&mut |bucket| {
                let Bucket::F64(elements) = bucket else { return Err("not of the toy engine".into()) };
                exchange(Bucket::F64(elements))?;
                let mut rest = elements.iter_mut();
                for variable in variables.iter().filter(|variable| variable.role == Role::Buffer) {
                    for element in rest.by_ref().take(variable.elements() as usize) {
                        *element = if variable.dtype == Dtype::I64 { element.trunc() } else { *element };
                    }
                }
                Ok(())
            }),
            Defect::MovesWeightsWithBuffers => {
                self.engine.exchange_buffers(exchange)?;
                self.halve()
            }
            _ => self.engine.exchange_buffers(exchange),
        }
    }

    fn groups(&self) -> &[String] {
        self.engine.groups()
    }

    fn freeze(&mut self, frozen: &[bool]) -> Result<(), BoxError> {
        match self.defect {
            Defect::FreezesNothing if frozen.len() == self.engine.groups().len() => Ok(()),
            // The gradients that are held go, and the next backward pass brings them back.
            Defect::FreezesByRateAlone => {
                self.engine.freeze(frozen)?;
                self.engine.freeze(&vec![false; frozen.len()])
            }
            Defect::NamesTheFrozen => {
                self.frozen = self.engine.unreached()?;
                self.engine.freeze(frozen)?;
                let others = self.engine.unreached()?;
                self.frozen.retain(|name| !others.contains(name));
                Ok(())
            }
            _ => self.engine.freeze(frozen),
        }
    }

    fn variables(&self) -> Result<Vec<Variable>, BoxError> {
        let mut variables = self.engine.variables()?;
        match self.defect {
            Defect::CallsTheFrozenTrained => {
                let frozen = variables.iter_mut().filter(|variable| variable.role == Role::Frozen);
                frozen.for_each(|variable| variable.role = Role::Trained);
            }
            Defect::ListsNoBuffers => variables.retain(|variable| variable.role != Role::Buffer),
            _ => {}
        }
        Ok(variables)
    }

    fn measure(&mut self, on: bool) {
        self.engine.measure(on || self.has(Defect::MeasuresForEver));
    }

    fn costs(&self) -> Vec<Cost> {
        self.engine.costs()
    }

    fn weights(&self) -> Result<ToyWeights, BoxError> {
        self.engine.weights()
    }

    fn blend(&self, weights: &mut ToyWeights, share: f64, buffer_share: f64) -> Result<(), BoxError> {
        match self.defect {
            Defect::BlendsTooFar => self.engine.blend(weights, (share * 1.0001).min(1.0), buffer_share),
            Defect::BlendsNoBuffers => self.engine.blend(weights, share, 0.0),
            _ => self.engine.blend(weights, share, buffer_share),
        }
    }

    fn swap_weights(&mut self, weights: &mut ToyWeights) {
        match self.defect {
            Defect::SwapsNothing => {}
            Defect::SwapsOneWay => self.engine.swap_weights(&mut weights.clone()),
            _ => self.engine.swap_weights(weights),
        }
    }

    fn set_momentum(&mut self, momentum: f64) -> Result<(), BoxError> {
        match self.defect {
            Defect::IgnoresMomentum => Ok(()),
            Defect::RestartsAtMomentum => {
                self.engine.load_state(Part::Optimizer, &StateDict::new())?;
                self.engine.set_momentum(momentum)
            }
            Defect::LeavesOutNoMomentum if momentum == 0.0 => Ok(()),
            _ => self.engine.set_momentum(momentum),
        }
    }

    fn step(&mut self, rates: &[f64]) -> Result<(), BoxError> {
        let groups = self.engine.groups().len();
        match self.defect {
            Defect::StepKeepsGradients => {
                let held = self.engine.state(Part::Gradients)?;
                self.engine.step(rates)?;
                self.engine.load_state(Part::Gradients, &held)
            }
            Defect::MovesUnreachedParameters => {
                // Those without a gradient have one of zeros, and so they decay.
                let mut held = self.engine.state(Part::Gradients)?;
                for (name, parameter) in self.engine.vars().parameters() {
                    if !held.contains(name) {
                        let zeros = vec![0; 8 * parameter.values().len()];
                        held.insert(name, Array::new(Dtype::F64, parameter.shape().to_vec(), zeros)?)?;
                    }
                }
                self.engine.load_state(Part::Gradients, &held)?;
                self.engine.step(rates)
            }
            Defect::UsesOneRate if rates.len() == groups => self.engine.step(&vec![rates[0]; groups]),
            Defect::TakesAnyRates => {
                let mut rates = rates.to_vec();
                rates.resize(groups, 0.01);
                self.engine.step(&rates)
            }
            _ => self.engine.step(rates),
        }
    }

    fn state(&self, part: Part) -> Result<StateDict, BoxError> {
        match (part, self.defect) {
            (Part::Gradients, Defect::HidesGradients) | (Part::Optimizer, Defect::SavesNoOptimizer) => {
                Ok(StateDict::new())
            }
            (Part::Module, Defect::SavesNoBuffers) => {
                let mut dict = self.engine.state(part)?;
                if dict.contains("centre.running_mean") {
                    dict.remove("centre.running_mean")?;
                }
                Ok(dict)
            }
            _ => self.engine.state(part),
        }
    }

    fn check_state(&self, part: Part, dict: &StateDict) -> Result<(), BoxError> {
        match part {
            _ if self.has(Defect::ChecksNothing) => Ok(()),
            Part::Module => self.state(part)?.check_same_layout(dict),
            _ => self.engine.check_state(part, dict),
        }
    }

    fn load_state(&mut self, part: Part, dict: &StateDict) -> Result<(), BoxError> {
        match (part, self.defect) {
            (Part::Gradients, Defect::SetsNoGradients) | (Part::Optimizer, Defect::LoadsNoOptimizer) => {
                Ok(())
            }
            (Part::Gradients, Defect::KeepsGradientsNotGiven) => {
                let mut all = dict.clone();
                for (name, array) in self.engine.state(part)? {
                    if !all.contains(&name) {
                        all.insert(name, array)?;
                    }
                }
                self.engine.load_state(part, &all)
            }
            (Part::Module, _) => self.load_module(dict),
            _ => self.engine.load_state(part, dict),
        }
    }
}

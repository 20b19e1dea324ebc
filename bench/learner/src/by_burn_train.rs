//! The training by burn-train's learner.

use std::fs;
use std::path::Path;

use burn::data::dataloader::DataLoaderBuilder;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::lr_scheduler::constant::ConstantLr;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::AdamConfig;
use burn::tensor::Device;
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep};
use regimen::BoxError;
use regimen_examples::digits::Image;
use regimen_examples::network::ConvNet;

use crate::data::{Batch, Images, SIDE, batch};
use crate::{BATCH, LEARNING_RATE, SEED};

/// The last accuracy of an evaluation.
pub(crate) fn train(images: Images, epochs: usize, out: &Path) -> Result<f64, BoxError> {
    let device = Device::flex().autodiff();
    device.seed(SEED);
    let loader = || DataLoaderBuilder::new(Digits).batch_size(BATCH);
    let train = loader().shuffle(SEED).build(InMemDataset::new(images.train));
    let valid = loader().build(InMemDataset::new(images.valid));
    let model = Classifier { network: ConvNet::new(SIDE, &device) };
    let result = SupervisedTraining::new(out, train, valid)
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .with_default_checkpointers()
        .num_epochs(epochs)
        .launch(Learner::new(model, AdamConfig::new().init(), ConstantLr::new(LEARNING_RATE)));
    match result.error {
        Some(error) => Err(error.to_string().into()),
        None => accuracy(&out.join(format!("valid/epoch-{epochs}/Accuracy.log"))),
    }
}

/// The value of the epoch in a log of burn-train, whose last line is `percent,final`.
fn accuracy(log: &Path) -> Result<f64, BoxError> {
    let text = fs::read_to_string(log)?;
    let percent = text.lines().find_map(|line| line.strip_suffix(",final"));
    let percent = percent.ok_or_else(|| format!("{} has no line `percent,final`", log.display()))?;
    Ok(percent.parse::<f64>()? / 100.0)
}

#[derive(Clone, Debug)]
struct Digits;

impl Batcher<Image, Batch> for Digits {
    fn batch(&self, images: Vec<Image>, device: &Device) -> Batch {
        batch(images, device)
    }
}

/// The network, in a type of its own: both traits are foreign to it.
#[derive(Module, Debug)]
struct Classifier {
    network: ConvNet,
}

impl Classifier {
    fn classify(&self, (images, digits): Batch) -> ClassificationOutput {
        let logits = self.network.forward(images);
        let loss =
            CrossEntropyLossConfig::new().init(&logits.device()).forward(logits.clone(), digits.clone());
        ClassificationOutput::new(loss, logits, digits)
    }
}

impl TrainStep for Classifier {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let item = self.classify(batch);
        TrainOutput::new(self, item.loss.backward(), item)
    }
}

impl InferenceStep for Classifier {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.classify(batch)
    }
}

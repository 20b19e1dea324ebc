//! The records of a `.wandb` file, without their numbers.

use crate::log::protobuf::Message;
use crate::state::{HyperParameter, HyperParameters};

/// A record: its field in W&B's message `Record`, and its content.
pub(super) struct Record {
    pub(super) field: u64,
    pub(super) content: Message,
}

/// Values by name, each as JSON: of a configuration, a history or a summary.
#[derive(Default)]
pub(super) struct Items(Vec<Message>);

impl Items {
    pub(super) fn add(&mut self, name: &str, json: &str) {
        self.0.push(Message::new().bytes(2, name.as_bytes()).bytes(16, json.as_bytes()));
    }

    fn message(&self) -> Message {
        self.0.iter().fold(Message::new(), |message, item| message.bytes(1, item.as_bytes()))
    }
}

/// A number as W&B's JSON, which has names for those that are not finite.
pub(super) fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        // The shortest digits that are read back as the same number.
        _ => format!("{value:?}"),
    }
}

/// A text as JSON.
pub(super) fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

/// The version of the format.
pub(super) fn header() -> Record {
    let version = Message::new().bytes(1, b"regimen").bytes(2, b"0.70.0");
    Record { field: 21, content: Message::new().bytes(1, version.as_bytes()) }
}

/// The training step as the horizontal axis of all metrics. W&B's own counts records.
pub(super) fn axis() -> [Record; 2] {
    let options = Message::new().varint(2, 1).varint(3, 1);
    let step = Message::new().bytes(1, b"step").bytes(6, options.as_bytes());
    let options = Message::new().varint(1, 1).varint(3, 1);
    let others = Message::new().bytes(2, b"*").bytes(4, b"step").bytes(6, options.as_bytes());
    [step, others].map(|content| Record { field: 12, content })
}

/// The configuration of the run.
pub(super) fn config(settings: &HyperParameters) -> Record {
    let mut items = Items::default();
    for (name, value) in settings.iter() {
        let json = match value {
            HyperParameter::Bool(value) => value.to_string(),
            HyperParameter::Integer(value) => value.to_string(),
            HyperParameter::Float(value) => number(*value),
            HyperParameter::Text(value) => text(value),
        };
        items.add(name, &json);
    }
    Record { field: 5, content: items.message() }
}

/// The values of one moment.
pub(super) fn history(step: u64, items: &Items) -> Record {
    let step = Message::new().varint(1, step);
    Record { field: 2, content: items.message().bytes(2, step.as_bytes()) }
}

/// The newest values, for the table of runs. W&B computes none from the history.
pub(super) fn summary(items: &Items) -> Record {
    Record { field: 3, content: items.message() }
}

/// A media file to upload, by its path in the folder `files`.
pub(super) fn media_file(path: &str) -> Record {
    let file = Message::new().bytes(1, path.as_bytes()).varint(3, 2);
    Record { field: 6, content: Message::new().bytes(1, file.as_bytes()) }
}

/// The end of the run, after so many seconds.
pub(super) fn exit(code: u64, seconds: u64) -> Record {
    Record { field: 18, content: Message::new().varint(1, code).varint(2, seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::wandb::chunks::{FILE_HEADER, add_chunks};

    #[test]
    fn a_history_is_written_as_in_a_file_that_wandb_reads() {
        let mut items = Items::default();
        items.add("_step", "1");
        items.add("step", "10");
        items.add("loss", &number(0.5));
        let Record { field, content } = history(1, &items);
        let record = Message::new().varint(1, 1).bytes(field, content.as_bytes());
        let mut bytes = FILE_HEADER.to_vec();
        add_chunks(record.as_bytes(), 0, &mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "3a572642e1be00420251f83000010801122c0a0b12055f73746570820101310a0b12047374657082010231300a0c1204\
             6c6f7373820103302e3512020801"
        );
    }

    #[test]
    fn numbers_that_are_not_finite_have_the_names_of_json_in_python() {
        for (value, json) in [
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (-0.0, "-0.0"),
            (1e300, "1e300"),
            (0.1 + 0.2, "0.30000000000000004"),
        ] {
            assert_eq!(number(value), json);
        }
    }
}

//! The newest metrics, for a Prometheus server.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use self::exchange::exchange;
use super::metric_log::locked;
use super::{MetricLog, MetricSink, Record};
use crate::BoxError;
use crate::state::{EntryPoint, Phase};

mod exchange;

/// Serves the newest metrics over HTTP at `/metrics`, in the text format of Prometheus.
///
/// | family | labels | value |
/// |---|---|---|
/// | `regimen_metric` (gauge) | `name`, `phase`, `over` | the newest value of a step (`over="step"`), or over an epoch (`over="epoch"`) |
/// | `regimen_steps_total` (counter) | `phase="train"` | completed training steps at the newest record |
/// | `regimen_epochs_total` (counter) | `phase` | completed epochs at the newest record |
///
/// A notice has the address when a run starts. An address that is taken is a notice too, and tried again at
/// the next call; an address without a port is an error. The endpoint is closed when the log is
/// dropped. Nothing of it is saved.
///
/// A thread answers one client at a time, within two seconds, and reads at most 8 KiB of its request.
/// Training never waits for a client. There is no encryption and no password: bind it to the loopback
/// address, or to a network that may read the metrics.
#[derive(Debug)]
pub struct Prometheus {
    address: String,
    newest: Arc<Mutex<Newest>>,
    endpoint: Option<Endpoint>,
    /// Whether a notice says that there is no endpoint.
    is_told: bool,
    notice: Option<String>,
}

/// The newest value of each metric.
#[derive(Debug, Default)]
struct Newest {
    /// By name; then by phase, of a step and over an epoch.
    metrics: BTreeMap<String, [[Option<f64>; 2]; 3]>,
    steps: u64,
    epochs: [Option<u64>; 3],
}

impl MetricLog<Prometheus> {
    /// Serves metrics at `address`, for example `127.0.0.1:9464`. Port 0 takes a free one.
    ///
    /// ```
    /// # use regimen::Run;
    /// # use regimen::log::MetricLog;
    /// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
    /// run.callback(MetricLog::prometheus("127.0.0.1:9464")) // curl http://127.0.0.1:9464/metrics
    /// # }
    /// ```
    pub fn prometheus(address: impl Into<String>) -> Self {
        let (address, newest) = (address.into(), Arc::default());
        MetricLog::to(Prometheus { address, newest, endpoint: None, is_told: false, notice: None })
    }
}

impl MetricSink for Prometheus {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("MetricLog(prometheus)")
    }

    fn open(&mut self, _entry: EntryPoint) -> Result<(), BoxError> {
        if self.endpoint.is_some() {
            return Ok(());
        }
        let address = &self.address;
        match Endpoint::open(address, Arc::clone(&self.newest)) {
            Ok(endpoint) => {
                self.notice = Some(format!("metrics are served at http://{}/metrics", endpoint.address));
                self.endpoint = Some(endpoint);
            }
            Err(cause) if cause.kind() == ErrorKind::InvalidInput => {
                return Err(format!("`{address}` is no address: {cause}; give a host and a port").into());
            }
            Err(_) if self.is_told => {}
            Err(cause) => {
                self.notice =
                    Some(format!("metrics are not served at {address}: {cause}; give another port"));
                self.is_told = true;
            }
        }
        Ok(())
    }

    fn notice(&mut self) -> Option<String> {
        self.notice.take()
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        let mut newest = locked(&self.newest);
        for &Record { step, phase, name, value, epoch } in records {
            newest.steps = step;
            if let Some(epoch) = epoch {
                newest.epochs[phase as usize] = Some(epoch);
            }
            // A name is copied only the first time.
            if !newest.metrics.contains_key(name) {
                newest.metrics.insert(name.to_owned(), Default::default());
            }
            if let Some(values) = newest.metrics.get_mut(name) {
                values[phase as usize][usize::from(epoch.is_some())] = Some(value);
            }
        }
        Ok(())
    }
}

/// The text format, version 0.0.4.
impl fmt::Display for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# HELP regimen_metric Newest value of a metric.\n# TYPE regimen_metric gauge\n")?;
        for (name, phases) in &self.metrics {
            for (phase, values) in Phase::ALL.into_iter().zip(phases) {
                for (over, value) in ["step", "epoch"].into_iter().zip(values) {
                    let Some(value) = value else { continue };
                    let (name, value) = (Label(name), Value(*value));
                    writeln!(
                        f,
                        "regimen_metric{{name=\"{name}\",phase=\"{phase}\",over=\"{over}\"}} {value}"
                    )?;
                }
            }
        }
        f.write_str("# HELP regimen_steps_total Completed steps.\n# TYPE regimen_steps_total counter\n")?;
        writeln!(f, "regimen_steps_total{{phase=\"train\"}} {}", self.steps)?;
        f.write_str("# HELP regimen_epochs_total Completed epochs.\n# TYPE regimen_epochs_total counter\n")?;
        for (phase, epochs) in Phase::ALL.into_iter().zip(self.epochs) {
            if let Some(epochs) = epochs {
                writeln!(f, "regimen_epochs_total{{phase=\"{phase}\"}} {epochs}")?;
            }
        }
        Ok(())
    }
}

/// The value of a label, without its quotes.
struct Label<'a>(&'a str);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            char => f.write_char(char),
        })
    }
}

struct Value(f64);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => write!(f, "{value:?}"),
        }
    }
}

/// A listening socket, and the thread that answers; closed when dropped.
#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    is_closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    fn open(address: &str, newest: Arc<Mutex<Newest>>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        // So that the thread sees that it is closed.
        listener.set_nonblocking(true)?;
        let (address, is_closed) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let closed = Arc::clone(&is_closed);
        let serve = move || {
            let is_closed = || closed.load(Ordering::Relaxed);
            while !is_closed() {
                match listener.accept() {
                    // A client that fails has no answer, and nobody else is concerned.
                    Ok((client, _)) => drop(exchange(client, is_closed, || locked(&newest).to_string())),
                    Err(_) => std::thread::sleep(exchange::LOOK),
                }
            }
        };
        let thread = Some(Builder::new().name("regimen-prometheus".into()).spawn(serve)?);
        Ok(Endpoint { address, is_closed, thread })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // A panic there is nobody's here.
        self.thread.take().map(JoinHandle::join).into_iter().for_each(drop);
    }
}

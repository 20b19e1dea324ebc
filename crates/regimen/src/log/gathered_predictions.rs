//! Predictions of all ranks in one sink.

use std::fmt;
use std::sync::Arc;

use crate::BoxError;
use crate::error::WithCauses;
use crate::peers::Peers;
use crate::run::PredictionSink;
use crate::saved::StateDict;

/// Hands the predictions of all [ranks](crate::Run::peers) to the sink of the first: those of a step in the order of the
/// ranks. So the samples are in the order of the data. Without it each rank hands its own predictions to a sink of its
/// own.
///
/// Every rank makes one, of the same kind. The sinks of the other ranks are not used. A batch is one output per rank, so
/// the sink is called as often; a single rank hands its outputs on as they are.
///
/// A paused prediction goes on exactly, because the position is that of the first rank.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use regimen::peers::Peers;
/// # use regimen::run::Predict;
/// # use regimen::unit::PredictUnit;
/// # use regimen::{BoxError, Run};
/// # fn example<U: PredictUnit<Batch = u64, Output = Vec<u8>>>(
/// #     mut run: Run<'_, U>,
/// #     peers: Arc<dyn Peers>,
/// #     data: Vec<u64>,
/// # ) -> Result<(), BoxError> {
/// use regimen::log::{GatheredPredictions, OutputFile};
///
/// let file = OutputFile::csv("out.csv", ["class"], |classes: Vec<u8>| classes);
/// let mut file = GatheredPredictions::new(peers, file, |classes: Vec<u8>| Ok(classes), |bytes| Ok(bytes.to_vec()));
/// run.predict_into(&data, Predict::whole().resume("test"), &mut file)?;
/// # Ok(())
/// # }
/// ```
pub struct GatheredPredictions<S, E, D> {
    peers: Arc<dyn Peers>,
    sink: S,
    encode: E,
    decode: D,
    /// The outputs of the step under way that the sink has taken. A step that failed among them goes on after them.
    taken: u64,
}

impl<S, E, D> GatheredPredictions<S, E, D> {
    /// Hands outputs to `sink`. `encode` makes an output bytes, which travel to the first rank, and `decode` makes the
    /// output of them.
    pub fn new<O>(peers: Arc<dyn Peers>, sink: S, encode: E, decode: D) -> Self
    where
        S: PredictionSink<O>,
        E: FnMut(O) -> Result<Vec<u8>, BoxError>,
        D: FnMut(&[u8]) -> Result<O, BoxError>,
    {
        GatheredPredictions { peers, sink, encode, decode, taken: 0 }
    }

    /// The sink.
    pub fn into_inner(self) -> S {
        self.sink
    }

    fn is_first(&self) -> bool {
        self.peers.rank().is_first()
    }

    /// Hands the outputs of a step to the sink, except those that it has taken.
    fn hand_on<O>(&mut self, outputs: &[Vec<u8>]) -> Result<(), BoxError>
    where
        S: PredictionSink<O>,
        D: FnMut(&[u8]) -> Result<O, BoxError>,
    {
        let outputs = outputs.iter().map(|bytes| (self.decode)(bytes)).collect::<Result<Vec<O>, _>>()?;
        for output in outputs.into_iter().skip(usize::try_from(self.taken)?) {
            self.sink.write(output)?;
            self.taken += 1;
        }
        self.taken = 0;
        Ok(())
    }
}

impl<O, S, E, D> PredictionSink<O> for GatheredPredictions<S, E, D>
where
    S: PredictionSink<O>,
    E: FnMut(O) -> Result<Vec<u8>, BoxError>,
    D: FnMut(&[u8]) -> Result<O, BoxError>,
{
    fn begin(&mut self, position: Option<&StateDict>) -> Result<(), BoxError> {
        self.taken = match position {
            Some(position) if position.contains(TAKEN) => position.count(TAKEN)?,
            _ => 0,
        };
        match self.is_first() {
            true => self.sink.begin(position.map(|position| position.under(SINK)).as_ref()),
            false => Ok(()),
        }
    }

    fn write(&mut self, output: O) -> Result<(), BoxError> {
        if self.peers.rank().count == 1 {
            return self.sink.write(output);
        }
        let all = self.peers.gather(&(self.encode)(output)?)?;
        let handed_on = if self.is_first() { self.hand_on(&all) } else { Ok(()) };
        // If it fails, the step is repeated on all ranks.
        let why = handed_on.as_ref().err().map_or_else(String::new, |cause| WithCauses(&**cause).to_string());
        let why = self.peers.text_of_first(&why)?;
        handed_on.and_then(|()| if why.is_empty() { Ok(()) } else { Err(format!("rank 0: {why}").into()) })
    }

    fn position(&mut self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        if self.is_first() {
            dict.insert(TAKEN, self.taken)?;
            dict.insert_all(SINK, self.sink.position()?)?;
        }
        Ok(dict)
    }
}

/// The names in a position.
const TAKEN: &str = "taken";
const SINK: &str = "of_first";

impl<S: fmt::Debug, E, D> fmt::Debug for GatheredPredictions<S, E, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatheredPredictions").field("sink", &self.sink).finish_non_exhaustive()
    }
}

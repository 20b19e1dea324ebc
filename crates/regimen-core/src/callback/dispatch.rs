//! Dispatch of events to the callbacks of a run.

use std::fmt;

pub(crate) use super::timed::Sending;
use super::timed::Timed;
use super::{BeforeCommit, Event, Events, Ranks};
use crate::error::ErrorKind;
use crate::error::guard::guard;
use crate::error::placed::placed;
use crate::saved::StateDict;
use crate::saved::ranks::OfRanks;
use crate::{BoxError, Callback, Error, State};

/// The callbacks of a run, in the order in which they are called.
pub(crate) struct Callbacks<'a, U: ?Sized> {
    listeners: Vec<Listener<'a, U>>,
    /// The union of all masks, so that an event without listeners costs one test.
    any: Events,
    /// Whether they are told to a probe: the first and the last in the list tell the events.
    timed: bool,
}

/// The saved states of callbacks, independent of the unit's type.
pub(crate) trait CallbackStates {
    /// The state of every callback that has one, under its name.
    fn state_dict(&mut self) -> Result<StateDict, BoxError>;

    /// The work that callbacks leave to the saver.
    fn before_commit(&mut self) -> Vec<BeforeCommit>;

    /// Whether the array `name` of these states is [of a rank](crate::saved::Stateful::is_of_rank).
    fn is_of_rank(&mut self, name: &str) -> bool;

    /// Checks whether [`load_state_dict`](CallbackStates::load_state_dict) would accept `all`.
    fn check_state_dict(&mut self, all: &OfRanks<'_>) -> Result<(), BoxError>;

    /// Restores saved states. Returns a notice for each callback without saved state, and for each
    /// saved state without a callback.
    fn load_state_dict(&mut self, all: &OfRanks<'_>) -> Result<Vec<String>, BoxError>;
}

struct Listener<'a, U: ?Sized> {
    callback: Box<dyn Callback<U> + 'a>,
    events: Events,
    ranks: Ranks,
    /// Unique in the run.
    name: String,
    /// Whether the first rank alone has a state of it that nobody else can make. A log has its file.
    has_state_of_first: bool,
}

impl<'a, U: ?Sized + 'a> Listener<'a, U> {
    /// The same, telling the probe of each event.
    fn timed(self) -> Self {
        let timed = Timed { callback: self.callback, name: self.name.clone() };
        Listener { callback: Box::new(timed), ..self }
    }
}

impl<'a, U: ?Sized + 'a> Callbacks<'a, U> {
    pub(crate) fn new() -> Self {
        Callbacks { listeners: Vec::new(), any: Events::NONE, timed: false }
    }

    pub(crate) fn add(&mut self, mut callback: Box<dyn Callback<U> + 'a>) {
        let (events, ranks) = (callback.events(), callback.ranks());
        let name = callback.name().into_owned();
        let same = |listener: &&Listener<'_, U>| listener.callback.name() == name;
        let name = match self.listeners.iter().filter(same).count() {
            0 => name,
            n => format!("{name} {}", n + 1),
        };
        self.any = self.any | events;
        let before = |listener: &Listener<'_, U>| callback.writes_down() || !listener.callback.writes_down();
        let at = self.listeners.partition_point(before).min(self.listeners.len() - usize::from(self.timed));
        let has_state_of_first =
            ranks == Ranks::First && !callback.writes_down() && callback.stateful().is_some();
        let listener = Listener { callback, events, ranks, name, has_state_of_first };
        self.listeners.insert(at, if self.timed { listener.timed() } else { listener });
    }

    /// Tells the probe of every event and of every callback, those that are added later included.
    pub(crate) fn time(&mut self) {
        let tell = |sending| Listener {
            callback: Box::new(sending),
            events: Events::ALL,
            ranks: Ranks::All,
            name: "Probe".to_owned(),
            has_state_of_first: false,
        };
        let (first, last) = (tell(Sending::Began), tell(Sending::Ended));
        let others = std::mem::take(&mut self.listeners).into_iter().map(Listener::timed);
        self.listeners = [first].into_iter().chain(others).chain([last]).collect();
        (self.any, self.timed) = (Events::ALL, true);
    }

    /// Whether a callback has a state on the first rank alone.
    pub(crate) fn has_state_of_first(&self) -> bool {
        self.listeners.iter().any(|listener| listener.has_state_of_first)
    }

    /// Sends nothing but notices, until [`unmute`](Callbacks::unmute).
    pub(crate) fn mute(&mut self) {
        self.any = if self.any.contains(Event::Notice) { Event::Notice.into() } else { Events::NONE };
    }

    pub(crate) fn unmute(&mut self) {
        let heard = self.listeners.iter().map(|listener| listener.events);
        self.any =
            if self.timed { Events::ALL } else { heard.fold(Events::NONE, |any, events| any | events) };
    }

    /// Sends `event` to its listeners, in order, up to the first that fails. The end of a step or an
    /// epoch is counted, so all receive it.
    pub(crate) fn send(&mut self, event: Event, state: &mut State, unit: &mut U) -> Result<(), Error> {
        if !self.any.contains(event) {
            return Ok(());
        }
        let mut next = 0;
        let mut failure: Option<Error> = None;
        while next < self.listeners.len() {
            // One guard around all of them: `next` is the one that panicked.
            let result = guard(|| {
                for listener in &mut self.listeners[next..] {
                    let hears = listener.events.contains(event) && listener.ranks.contain(state.rank());
                    if hears && (failure.is_none() || event.ends_step_or_epoch()) {
                        listener.callback.on_event(event, state, unit)?;
                        state.check_logged()?;
                    }
                    next += 1;
                }
                Ok(())
            });
            if let Err(caught) = result {
                let name =
                    self.listeners.get(next).map_or_else(String::new, |listener| listener.name.clone());
                let error = caught.at(state, ErrorKind::Callback(name, event));
                // Otherwise its invalid logs would be an error of the next callback.
                let _ = state.check_logged();
                match &mut failure {
                    None => failure = Some(error),
                    Some(first) => first.suppress(error),
                }
                next += 1;
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Sends `error` to all; panics meanwhile are kept in it.
    pub(crate) fn send_error(&mut self, state: &State, unit: &mut U, error: &mut Error) {
        for listener in self.listeners.iter_mut().filter(|listener| listener.ranks.contain(state.rank())) {
            let told = guard(|| {
                listener.callback.on_error(state, unit, error);
                Ok(())
            });
            if let Err(caught) = told {
                error.suppress(caught.at(state, ErrorKind::OnError(listener.name.clone())));
            }
        }
    }

    /// Calls `f` for all that receive events, after a call that ends with the event `end`.
    pub(crate) fn each(
        &mut self,
        state: &State,
        end: Event,
        mut f: impl FnMut(&mut dyn Callback<U>),
    ) -> Result<(), Error> {
        let here = |listener: &&mut Listener<'a, U>| listener.ranks.contain(state.rank());
        for Listener { callback, name, .. } in self.listeners.iter_mut().filter(here) {
            let called = guard(|| {
                f(&mut **callback);
                Ok(())
            });
            called.map_err(|caught| caught.at(state, ErrorKind::Callback(name.clone(), end)))?;
        }
        Ok(())
    }

    /// One that hears nothing on this rank has nothing to go on with. If it did, and became the first rank later, its
    /// state would be that of long ago: a log would be cut back to where it was then.
    fn each_saved(
        &mut self,
        all: &OfRanks<'_>,
        mut f: impl FnMut(&mut dyn crate::saved::Stateful, &StateDict) -> Result<(), BoxError>,
    ) -> Result<Vec<String>, BoxError> {
        let mut notices = Vec::new();
        let mut known = Vec::new();
        for Listener { callback, name, ranks, .. } in &mut self.listeners {
            let Some(part) = callback.stateful() else { continue };
            known.push(name.clone());
            if !ranks.contain(all.rank()) {
                continue;
            }
            if all.first().contains(&format!("{name}.saved")) {
                let saved = all.under(&format!("{name}.state"));
                let loaded = saved.of(part).and_then(|own| f(part, &own));
                loaded.map_err(|cause| placed(format!("callback {name}"), cause))?;
            } else {
                notices.push(format!("callback {name} begins anew: no state of it was saved"));
            }
        }
        let saved = all.first().iter().filter_map(|(array, _)| array.strip_suffix(".saved"));
        notices.extend(saved.filter(|name| !known.iter().any(|known| known == name)).map(|name| {
            format!("the state saved of callback {name} is not used: no such callback is registered")
        }));
        Ok(notices)
    }
}

impl<'a, U: ?Sized + 'a> CallbackStates for Callbacks<'a, U> {
    fn state_dict(&mut self) -> Result<StateDict, BoxError> {
        let mut all = StateDict::new();
        for Listener { callback, name, .. } in &mut self.listeners {
            let Some(part) = callback.stateful() else { continue };
            let dict = part.state_dict().map_err(|cause| placed(format!("callback {name}"), cause))?;
            all.insert(format!("{name}.saved"), 1_u8)?;
            all.insert_all(&format!("{name}.state"), dict)?;
        }
        Ok(all)
    }

    fn before_commit(&mut self) -> Vec<BeforeCommit> {
        self.listeners.iter_mut().filter_map(|listener| listener.callback.before_commit()).collect()
    }

    fn is_of_rank(&mut self, name: &str) -> bool {
        self.listeners.iter_mut().any(|listener| {
            let array = name.strip_prefix(&*listener.name).and_then(|rest| rest.strip_prefix(".state."));
            let part = array.and_then(|array| Some((array, listener.callback.stateful()?)));
            part.is_some_and(|(array, part)| part.is_of_rank(array))
        })
    }

    fn check_state_dict(&mut self, all: &OfRanks<'_>) -> Result<(), BoxError> {
        self.each_saved(all, |part, dict| part.check_state_dict(dict)).map(drop)
    }

    fn load_state_dict(&mut self, all: &OfRanks<'_>) -> Result<Vec<String>, BoxError> {
        self.each_saved(all, |part, dict| part.load_state_dict(dict))
    }
}

impl<U: ?Sized> fmt::Debug for Callbacks<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.listeners.iter().map(|listener| &listener.name)).finish()
    }
}

//! Several sources as one: their order, and epochs continued from any batch.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use regimen::data::{
    AllBatches, At, Data, Epoch, Fetched, Loader, Mix, Position, Stopping, each_epoch, indices,
};

use Stopping::{AllExhausted, RestartUntilAllExhausted, SmallestExhausted, WrapAround};

/// The number of batches compared per epoch: some have no end.
const LIMIT: usize = 12;

/// The rest of an epoch, up to the limit, and the position after each batch.
fn rest<D: Data>(data: &D, at: At) -> Vec<(D::Batch, Position)> {
    let limit = LIMIT - at.skip as usize;
    let mut epoch = data.epoch(at).unwrap();
    let next = || {
        epoch.next().map(|fetched| fetched.map(|Fetched { batch, position, .. }| (batch, position.unwrap())))
    };
    std::iter::from_fn(next).take(limit).map(Result::unwrap).collect()
}

/// Checks that an epoch has `expected` and continues after any batch of it, by its position as by the
/// number of batches.
fn check<D: Data>(data: &D, text: impl Fn(&D::Batch) -> String, expected: &str) {
    let all = rest(data, At::epoch(0, 42));
    let join = |batches: &[(D::Batch, Position)]| {
        batches.iter().map(|(batch, _)| text(batch)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(join(&all), expected);
    if let Some(batches) = data.batches() {
        assert_eq!(all.len() as u64, batches);
    }
    for (number, (_, position)) in all.iter().enumerate() {
        let left = data.batches().map(|batches| batches - (number as u64 + 1));
        for position in [None, Some(position)] {
            let mut at = At::epoch(0, 42).skip(number as u64 + 1);
            at.position = position.cloned();
            assert_eq!(join(&rest(data, at.clone())), join(&all[number + 1..]));
            assert_eq!(data.epoch(at).unwrap().batches_left(), left);
        }
    }
}

fn a() -> Vec<&'static str> {
    vec!["a1", "a2"]
}

fn b() -> Vec<&'static str> {
    vec!["b10", "b20", "b30"]
}

fn mix(mix: Mix<&'static str>) -> Mix<&'static str> {
    mix.source("a", a()).source("b", b())
}

/// The rows of TorchTNT's table, and those that it leaves out.
#[test]
fn sources_take_turns_in_each_strategy_until_its_rule_ends_the_epoch() {
    let check = |data: Mix<_>, expected| check(&data, |batch: &&str| (*batch).to_owned(), expected);
    let robin = || mix(Mix::round_robin());
    check(robin(), "a1 b10 a2 b20 b30");
    check(robin().order(["b", "a"]), "b10 a1 b20 a2 b30");
    check(robin().until(SmallestExhausted), "a1 b10 a2 b20");
    check(robin().order(["b", "a"]).until(SmallestExhausted), "b10 a1 b20 a2 b30");
    check(robin().until(RestartUntilAllExhausted), "a1 b10 a2 b20 a1 b30 a2");
    check(robin().until(WrapAround), "a1 b10 a2 b20 a1 b30 a2 b10 a1 b20 a2 b30");
    check(robin().order(["a", "b", "b"]), "a1 b10 b20 a2 b30");
    check(mix(Mix::in_order()), "a1 a2 b10 b20 b30");
    check(mix(Mix::in_order()).order(["b", "a", "b"]), "b10 b20 b30 a1 a2 b10 b20 b30");
    check(mix(Mix::random()), "b10 b20 a1 a2 b30");
    check(mix(Mix::random()).until(SmallestExhausted), "b10 b20 a1 a2 b30");
    check(mix(Mix::random()).until(RestartUntilAllExhausted), "b10 b20 a1 a2 b30 b10");
    check(mix(Mix::random()).until(WrapAround), "b10 b20 a1 a2 b30 b10 a1 b20 b30 b10 b20 a2");
}

#[test]
fn a_batch_of_every_source_at_once_is_given_until_the_rule_ends_the_epoch() {
    let both = || AllBatches::new().source("a", a()).source("b", b());
    let check = |data: AllBatches<_>, expected| {
        let text = |batch: &std::collections::BTreeMap<_, &str>| {
            batch.values().copied().collect::<Vec<_>>().join("+")
        };
        check(&data, text, expected);
    };
    check(both(), "a1+b10 a2+b20 b30");
    check(both().until(SmallestExhausted), "a1+b10 a2+b20");
    check(both().until(RestartUntilAllExhausted), "a1+b10 a2+b20 a1+b30");
    check(
        both().until(WrapAround),
        "a1+b10 a2+b20 a1+b30 a2+b10 a1+b20 a2+b30 a1+b10 a2+b20 a1+b30 a2+b10 a1+b20 a2+b30",
    );
}

#[test]
fn weights_decide_how_often_a_source_is_drawn() {
    let forever = |name| each_epoch(move |_| std::iter::repeat(name));
    let data = Mix::random().weighted("a", 1.0, forever("a")).weighted("b", 3.0, forever("b"));
    let mut epoch = data.epoch(At::epoch(0, 42)).unwrap();
    let drawn = (0..40_000).filter(|_| epoch.next().unwrap().unwrap().batch == "a").count();
    // 5 deviations of a binomial with 40,000 draws at 1/4.
    assert!(drawn.abs_diff(10_000) < 433, "{drawn}");
}

#[test]
fn a_source_that_begins_anew_is_shuffled_anew_and_unlike_the_others() {
    let shuffled = || Loader::new(indices(100)).shuffle().batch_size(100);
    let data = Mix::round_robin().source("a", shuffled()).source("b", shuffled()).until(WrapAround);
    let orders: std::collections::BTreeSet<_> =
        rest(&data, At::epoch(0, 42)).into_iter().map(|(batch, _)| batch).collect();
    assert_eq!(orders.len(), LIMIT);
}

#[test]
fn mixes_that_cannot_be_used_are_refused() {
    let check = |data: Mix<&'static str>, expected: &str| {
        let mut epoch = match data.epoch(At::epoch(0, 42)) {
            Ok(epoch) => epoch,
            Err(error) => return assert_eq!(error.to_string(), expected),
        };
        let error = std::iter::from_fn(|| epoch.next()).find_map(Result::err).unwrap();
        assert_eq!(error.to_string(), expected);
    };
    check(Mix::random(), "a mix of no source");
    check(mix(Mix::round_robin()).order(["c"]), "there is no source `c` to have a turn");
    check(
        mix(Mix::random()).weighted("c", f64::MAX, a()).weighted("d", f64::MAX, a()),
        "weights that sum to inf cannot be drawn by",
    );
    check(Mix::round_robin().source("a", a()).source("a", b()), "two sources are called `a`");
    check(mix(Mix::random()).weighted("c", 0.0, a()), "weight 0 of source `c` cannot be drawn by");
    check(mix(Mix::round_robin()).source("c", vec![]), "source `c`: it has no batch");
    check(
        mix(Mix::in_order()).until(WrapAround),
        "sources in order are exhausted one by one: no other stopping rule applies",
    );
}

#[test]
fn a_source_without_a_turn_is_refused_under_every_rule() {
    let without = |order: &'static [&str]| {
        [Mix::round_robin, Mix::in_order, Mix::random].map(|new| mix(new()).order(order.iter().copied()))
    };
    for stopping in [AllExhausted, SmallestExhausted, RestartUntilAllExhausted, WrapAround] {
        for data in without(&["a"]).into_iter().chain(without(&["a", "a"])) {
            let data = data.until(stopping);
            let error = data.epoch(At::epoch(0, 42)).err().unwrap().to_string();
            assert_eq!(error, "source `b` has no turn; name it in the order, or do not add it");
            assert_eq!(data.batches(), None);
        }
    }
}

#[test]
fn empty_sources_are_passed_over_where_allowed_and_never_for_ever() {
    let check = |data: Mix<_>, expected| check(&data, |batch: &&str| (*batch).to_owned(), expected);
    let with_empty = || mix(Mix::round_robin()).source("c", vec![]).allow_empty();
    check(with_empty(), "a1 b10 a2 b20 b30");
    check(with_empty().until(RestartUntilAllExhausted), "a1 b10 a2 b20 a1 b30 a2");
    for stopping in [AllExhausted, SmallestExhausted, RestartUntilAllExhausted, WrapAround] {
        let nothing = Mix::round_robin().source("c", Vec::<&str>::new()).allow_empty().until(stopping);
        check(nothing, "");
    }
}

/// TorchTNT's round robin never ends if a source of the saved state is gone.
#[test]
fn a_position_of_other_sources_is_refused() {
    let (_, position) = rest(&mix(Mix::round_robin()), At::epoch(0, 42)).swap_remove(1);
    let refused = |data: Mix<&'static str>| {
        let mut at = At::epoch(0, 42).skip(2);
        at.position = Some(position.clone());
        data.epoch(at).err().unwrap().to_string()
    };
    let other = Mix::round_robin().source("a", a()).source("c", b());
    assert_eq!(refused(other), "the position is of source `b`, not `c`");
    assert_eq!(refused(Mix::round_robin().source("a", a())), "the position is of 2 sources, not 1");
}

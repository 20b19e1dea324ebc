//! The first batches of the first epoch, again and again.

use regimen::data::{At, Data, DataExt, Epoch, Loader, Position, Samples, indices};
use regimen::random::Random;

/// The batches of an epoch from a place on, with the position after each.
fn batches(data: &impl Data<Batch = Vec<usize>>, at: At) -> Vec<(Vec<usize>, Option<Position>)> {
    let mut epoch = data.epoch(at).unwrap();
    let mut found = Vec::new();
    while let Some(fetched) = epoch.next() {
        let fetched = fetched.unwrap();
        assert_eq!(fetched.samples, fetched.batch.len() as u64);
        found.push((fetched.batch, fetched.position));
    }
    found
}

#[test]
fn every_epoch_is_the_start_of_the_first_also_from_the_middle() {
    // With changes that are drawn per epoch and sample.
    let noisy = |workers| {
        let noise = |i: usize, random: &mut Random| i * 1000 + (random.uniform() * 1000.0) as usize;
        let samples = indices(40).transform(noise);
        Loader::new(samples).batch_size(4).shuffle().workers(workers)
    };
    let whole = noisy(0);
    let first: Vec<_> = batches(&whole, At::epoch(0, 5)).into_iter().take(3).collect();
    assert_ne!(batches(&whole, At::epoch(1, 5))[..3], first, "the epochs of the data differ");
    for workers in [0, 2] {
        let data = noisy(workers).overfit_batches(3);
        assert_eq!(data.batches(), Some(3));
        for epoch in [0, 1, 7] {
            assert_eq!(batches(&data, At::epoch(epoch, 5)), first);
            for skip in 1..=3 {
                // As a run does that goes on.
                let mut at = At::epoch(epoch, 5).skip(skip);
                at.position.clone_from(&first[skip as usize - 1].1);
                assert_eq!(batches(&data, at), first[skip as usize..], "epoch {epoch} after {skip}");
            }
        }
    }
    assert_eq!(noisy(0).overfit_batches(99).batches(), Some(10));
    let error = noisy(0).overfit_batches(3).epoch(At::epoch(1, 5).skip(4)).err().unwrap().to_string();
    assert_eq!(error, "4 batches were consumed of an epoch of which 3 are taken now");
}

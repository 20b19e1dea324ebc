//! The first batch, again and again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use regimen::data::{At, Data, DataExt, Epoch, Loader, Rank, each_epoch, indices};

/// The batches of an epoch, with their samples, from batch `skip` on.
fn batches(data: &impl Data<Batch = Vec<usize>>, epoch: u64, skip: u64) -> Vec<Vec<usize>> {
    let mut epoch = data.epoch(At::epoch(epoch, 5).skip(skip)).unwrap();
    let mut found = Vec::new();
    while let Some(fetched) = epoch.next() {
        let fetched = fetched.unwrap();
        assert_eq!((fetched.samples, fetched.position), (fetched.batch.len() as u64, None));
        found.push(fetched.batch);
    }
    found
}

#[test]
fn every_batch_is_the_first_of_the_first_epoch_also_after_a_restart() {
    let whole = || Loader::new(indices(10)).batch_size(4).shuffle();
    let mut epoch = whole();
    let first = epoch.epoch(At::epoch(0, 5)).unwrap().next().unwrap().unwrap().batch;
    epoch = whole();
    let data = epoch.only_first_batch();
    assert_eq!(data.batches(), Some(3));
    for (epoch, skip, expected) in [(0, 0, 3), (1, 0, 3), (1, 2, 1), (7, 3, 0)] {
        assert_eq!(batches(&data, epoch, skip), vec![first.clone(); expected], "epoch {epoch} after {skip}");
    }
    let error = data.epoch(At::epoch(0, 5).skip(4)).err().unwrap().to_string();
    assert_eq!(error, "4 batches were consumed of an epoch that has 3 now");
    // Each rank has the first of its own.
    let of_rank = |index| {
        let at = At::epoch(3, 5).rank(Rank { index, count: 2 });
        data.epoch(at).unwrap().next().unwrap().unwrap().batch
    };
    assert_ne!(of_rank(0), of_rank(1));
}

#[test]
fn data_of_no_known_length_gives_one_batch_per_epoch_and_empty_data_none() {
    let endless = each_epoch(|epoch| (0..).map(move |n| vec![epoch as usize + n])).only_first_batch();
    assert_eq!(batches(&endless, 2, 0), [[0]]);
    let empty = each_epoch(|_| std::iter::empty::<Vec<usize>>()).only_first_batch();
    assert_eq!(batches(&empty, 0, 0), [[0; 0]; 0]);
}

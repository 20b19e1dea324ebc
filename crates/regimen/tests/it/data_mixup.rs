//! Mixup and CutMix: every choice is read back from batches that show it, and computed again by hand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Range;

use regimen::BoxError;
use regimen::data::{At, Cutmix, Data, DataExt, DynData, Epoch, Mixup, Rank, SegmCutmix};
use regimen_test::toy::ToyArray;

type Pair = (ToyArray, ToyArray);

/// The next `batches` batches of `data`.
fn take(data: &dyn DynData<Pair>, at: At, batches: usize) -> Result<Vec<Pair>, BoxError> {
    let mut epoch = data.epoch(at)?;
    (0..batches).map(|_| Ok(epoch.next().unwrap()?.batch)).collect()
}

fn values(batches: &[Pair]) -> Vec<(Vec<f64>, Vec<f64>)> {
    batches.iter().map(|(x, y)| (x.values(), y.values())).collect()
}

/// One-hot inputs, which show the share and the partner of each sample. The target is the square of its number.
fn points(samples: usize) -> Pair {
    let one_hot = (0..samples * samples).map(|n| f64::from(n / samples == n % samples)).collect::<Vec<_>>();
    let squares = (0..samples).map(|n| (n * n) as f64).collect::<Vec<_>>();
    (ToyArray::new(&[samples, samples], &one_hot), ToyArray::new(&[samples, 1], &squares))
}

/// The share and the partners of mixed [`points`], and a check of all numbers by both.
fn shares_of_points((x, y): &Pair) -> (f64, Vec<usize>) {
    let samples = x.shape()[0];
    let rows: Vec<Vec<f64>> = x.values().chunks(samples).map(<[f64]>::to_vec).collect();
    let partner = |n: usize| (0..samples).find(|&k| k != n && rows[n][k] != 0.0).unwrap_or(n);
    let partners: Vec<usize> = (0..samples).map(partner).collect();
    let moved = (0..samples).find(|&n| partners[n] != n);
    let share = moved.map_or(1.0, |n| rows[n][n]);
    for (n, &partner) in partners.iter().enumerate() {
        let mixed = |of: &dyn Fn(usize) -> f64| share * of(n) + (1.0 - share) * of(partner);
        for (k, value) in rows[n].iter().enumerate() {
            assert!((value - mixed(&|row| f64::from(row == k))).abs() < 1e-12);
        }
        assert!((y.values()[n] - mixed(&|row| (row * row) as f64)).abs() < 1e-9);
    }
    let mut sorted = partners.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..samples), "{partners:?} is no permutation");
    (share, partners)
}

#[test]
fn mixup_blends_inputs_and_targets_of_a_permutation_by_one_share() {
    let data = vec![points(6); 400].mixup(Mixup::new(0.4).probability(1.0));
    let mixed = take(&data, At::epoch(0, 42), 400).unwrap();
    let (shares, partners): (Vec<f64>, Vec<Vec<usize>>) = mixed.iter().map(shares_of_points).unzip();
    // The moments of Beta(0.4, 0.4); five standard errors are below 0.1.
    let moment = |power| shares.iter().map(|share| share.powi(power)).sum::<f64>() / 400.0;
    assert!((moment(1) - 0.5).abs() < 0.1 && (moment(2) - 1.4 / 3.6).abs() < 0.1);
    assert!(partners.iter().all(|order| order.len() == 6) && partners[0] != partners[1]);
    // These are of the contract: a later version draws them too.
    assert_eq!(format!("{:.6} {:?}", shares[0], partners[0]), "0.821563 [4, 0, 2, 5, 3, 1]");
}

/// An image of `height` times `width` pixels in each of two channels, for each sample: its number times 1000, plus the
/// pixel.
fn images(samples: usize, [height, width]: [usize; 2]) -> ToyArray {
    let size = 2 * height * width;
    let pixels: Vec<f64> = (0..samples * size).map(|n| (n / size * 1000 + n % size) as f64).collect();
    ToyArray::new(&[samples, 2, height, width], &pixels)
}

/// The rows, columns and partners of pasted [`images`] of 8 times 10 pixels, and a check of all pixels by them.
/// `None` if nothing was pasted.
fn box_of_images(x: &ToyArray) -> Option<([Range<usize>; 2], Vec<usize>)> {
    let (samples, size) = (x.shape()[0], 160);
    let origin: Vec<usize> = x.values().iter().map(|value| (*value as usize) / 1000).collect();
    let is_foreign = |n: &usize| origin[*n] != n / size;
    let foreign: Vec<usize> = (0..samples * size).filter(is_foreign).collect();
    let range = |of: &dyn Fn(usize) -> usize| {
        let all = || foreign.iter().map(|&n| of(n));
        Some(all().min()?..all().max()? + 1)
    };
    let (rows, columns) = (range(&|n| n / 10 % 8)?, range(&|n| n % 10)?);
    let corner = rows.start * 10 + columns.start;
    let partners: Vec<usize> = (0..samples).map(|sample| origin[sample * size + corner]).collect();
    for (n, &value) in x.values().iter().enumerate() {
        let is_inside = rows.contains(&(n / 10 % 8)) && columns.contains(&(n % 10));
        let sample = if is_inside { partners[n / size] } else { n / size };
        assert_eq!(value, (sample * 1000 + n % size) as f64);
    }
    Some(([rows, columns], partners))
}

#[test]
fn cutmix_pastes_one_box_of_a_permutation_and_targets_count_its_true_area() {
    let data = vec![(images(4, [8, 10]), points(4).1); 200].cutmix(Cutmix::new(1.0).probability(1.0));
    let (mut pasted, mut clipped) = (0, 0);
    for (x, y) in take(&data, At::epoch(0, 42), 200).unwrap() {
        let Some(([rows, columns], partners)) = box_of_images(&x) else {
            continue;
        };
        let area = (rows.len() * columns.len()) as f64 / 80.0;
        assert!(area <= 0.5);
        let target =
            |(n, partner): (usize, usize)| (1.0 - area) * (n * n) as f64 + area * (partner * partner) as f64;
        let expected: Vec<f64> = partners.into_iter().enumerate().map(target).collect();
        assert!(y.values().iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-12));
        pasted += 1;
        // A box in the middle has the proportions of the image, up to a pixel.
        clipped += usize::from((rows.len() as f64 / 8.0 - columns.len() as f64 / 10.0).abs() > 0.125);
    }
    assert!(pasted > 160 && clipped > 10, "{pasted} {clipped}");
}

#[test]
fn segm_cutmix_pastes_the_same_box_into_images_and_masks() {
    let masks = |samples: usize| {
        let pixels: Vec<f64> = (0..samples * 80).map(|n| (n / 80 * 1000 + n % 80) as f64).collect();
        ToyArray::new(&[samples, 8, 10], &pixels)
    };
    let data = vec![(images(4, [8, 10]), masks(4)); 200].segm_cutmix(SegmCutmix::new(1.0).probability(1.0));
    for (x, y) in take(&data, At::epoch(0, 42), 200).unwrap() {
        // The mask is that of the first channel.
        let channels: Vec<f64> = x.values().chunks(160).flat_map(|image| image[..80].to_vec()).collect();
        assert_eq!(y.values(), channels);
        box_of_images(&x);
    }
}

#[test]
fn a_probability_of_0_mixes_no_batch_one_of_1_all_and_the_default_half_of_them() {
    let batches = vec![points(5); 400];
    let mixed = |mixup: Mixup| {
        let data = (&batches).mixup(mixup);
        let taken = take(&data, At::epoch(0, 7), 400).unwrap();
        let expected = values(&batches);
        values(&taken).into_iter().zip(expected).filter(|(found, clean)| found != clean).count()
    };
    let uniform = Mixup::new(1.0);
    assert_eq!(mixed(uniform.probability(0.0)), 0);
    // One permutation of five in 120 leaves all as they are.
    assert!(mixed(uniform.probability(1.0)) > 385);
    assert!((150..250).contains(&mixed(uniform)));
}

#[test]
fn choices_are_those_of_seed_epoch_batch_and_rank_wherever_the_epoch_is_entered() {
    let data = vec![points(6); 8].mixup(Mixup::new(1.0).probability(0.9));
    let at = || At::epoch(3, 42);
    let whole = values(&take(&data, at(), 8).unwrap());
    for skip in 0..8 {
        let rest = take(&data, at().skip(skip as u64), 8 - skip).unwrap();
        assert_eq!(values(&rest), whole[skip..]);
    }
    let others = [At::epoch(4, 42), At::epoch(3, 43), at().rank(Rank { index: 1, count: 2 })];
    for other in others {
        assert_ne!(values(&take(&data, other, 8).unwrap()), whole);
    }
    assert!((1..8).all(|n| whole[n] != whole[0]));
}

/// The original mixes with the batch before, and fails if that was smaller.
#[test]
fn a_batch_after_a_smaller_one_is_mixed_with_its_own_samples() {
    let batches: Vec<Pair> = [2, 6, 1, 3].into_iter().map(points).collect();
    let data = (&batches).mixup(Mixup::new(1.0).probability(1.0));
    let mixed = take(&data, At::epoch(0, 1), 4).unwrap();
    let samples = |batch: &Pair| shares_of_points(batch).1.len();
    assert_eq!(mixed.iter().map(samples).collect::<Vec<_>>(), [2, 6, 1, 3]);
    // A sample alone stays as it is.
    assert_eq!(values(&mixed[2..3]), values(&batches[2..3]));
}

#[test]
fn batches_and_settings_that_cannot_be_mixed_are_errors_of_the_batch() {
    fn check(data: impl Data<Batch = Pair>, expected: &str) {
        assert_eq!(take(&data, At::epoch(0, 0), 1).unwrap_err().to_string(), expected);
    }
    let batch = || vec![points(3)];
    check(batch().mixup(Mixup::new(0.0)), "mixup: an alpha of 0 is not above 0");
    check(batch().mixup(Mixup::new(f64::INFINITY)), "mixup: an alpha of inf is not above 0");
    check(
        batch().mixup(Mixup::new(1.0).probability(f64::NAN)),
        "mixup: a probability of NaN is not between 0 and 1",
    );
    check(
        vec![(points(3).0, points(2).1)].mixup(Mixup::new(1.0)),
        "mixup: inputs of 3 samples and targets of 2 samples",
    );
    check(
        batch().cutmix(Cutmix::new(1.0)),
        "cutmix: images of shape [3, 3] have no height and width after the samples",
    );
    check(
        vec![(images(2, [4, 4]), images(2, [4, 2]))].segm_cutmix(SegmCutmix::new(1.0)),
        "segm cutmix: images of [4, 4] pixels and masks of [4, 2]",
    );
}

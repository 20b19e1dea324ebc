//! Objects that were damaged after they were written are found out.

use std::sync::Arc;

use regimen::checkpoint::{Checkpoints, Which, Writer};

use crate::common::*;
use crate::flaky::{Fault, Flaky};
use crate::place::Place;

const FLIPS: u64 = 10_000;

#[test]
fn every_flip_and_cut_is_refused_or_harmless() {
    damage_often(&Place::default(), cases("REGIMEN_DAMAGES", FLIPS));
}

/// Damages an object of `place`, which is empty, in each case.
pub(crate) fn damage_often(place: &Place, cases: u64) {
    let store = Arc::new(Flaky::new(place, Fault::None).store(1));
    let mut writer = Writer::open_on(store.clone(), DIR, RUN).unwrap();
    (1..=3).for_each(|save| drop(writer.save(&snapshot(10 * save, save)).unwrap()));
    let (keys, mut random) = (place.keys(), Random(1));
    let newest: Vec<_> = keys.iter().filter(|key| key.as_ref().contains("step-000000030")).collect();
    // An index and three files.
    assert_eq!((keys.len(), newest.len()), (13, 4), "{keys:?}");
    let (mut refused, mut harmless) = (0, 0);
    for case in 0..cases {
        let key = &keys[random.below(keys.len() as u64) as usize];
        let whole = place.get(key);
        let mut bytes = whole.clone();
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len() as u64) as usize);
        } else {
            let bit = random.below(8 * bytes.len() as u64) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        place.put(key, bytes);
        let found = Checkpoints::on(store.clone(), DIR).load(Which::Latest).unwrap().unwrap();
        let save = found.checkpoint.manifest().save;
        assert_eq!(found.content, parts(save), "case {case}: {key}");
        match newest.contains(&key) {
            true => {
                refused += 1;
                assert_eq!((save, found.skipped.len()), (2, 1), "case {case}: {key}");
            }
            false => {
                harmless += 1;
                assert_eq!(save, 3, "case {case}: {key}");
            }
        }
        place.put(key, whole);
    }
    assert!(0 < refused && 0 < harmless);
}

#[test]
fn a_damaged_index_keeps_all_files_from_the_sweep() {
    let place = Place::default();
    let store = Arc::new(Flaky::new(&place, Fault::None).store(1));
    let mut writer = Writer::open_on(store.clone(), DIR, RUN).unwrap();
    (1..=2).for_each(|save| drop(writer.save(&snapshot(save, save)).unwrap()));
    let before = place.keys();
    let index = before.iter().find(|key| key.as_ref().ends_with("step-000000001.index")).unwrap();
    place.put(index, b"damaged".to_vec());
    let failures = writer.sweep().failures;
    let text: Vec<String> = failures.iter().map(ToString::to_string).collect();
    let expected = "cannot sweep `/runs/digits`: Generic regimen error: `runs/digits/step-000000001.index`: its \
                    index is damaged";
    assert_eq!(text, [expected]);
    assert_eq!(place.keys(), before);
}

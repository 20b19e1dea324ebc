//! Names next to `use regimen::data::*`, and the types of loaders.
#![allow(
    clippy::get_first,
    clippy::needless_borrow,
    clippy::useless_vec,
    reason = "the methods and the types that have them are the test"
)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::io::Read;

use regimen::data::*;

/// Every call here is one of the standard library's: a trait of `regimen::data` with a method of
/// that name would come first for some of them, and would not compile.
#[test]
fn everything_imported_hides_no_method_of_the_standard_library() {
    let mut vec = vec![1_u8, 2, 3];
    vec.push(4);
    vec.extend([5]);
    assert_eq!(
        (vec.get(1), vec.get(9), vec.first(), vec.len(), vec.is_empty()),
        (Some(&2), None, Some(&1), 5, false)
    );
    assert_eq!(
        [vec.clone(), vec![6]].concat(),
        vec!["1", "2", "3", "4", "5", "6"].into_iter().map(|text| text.parse().unwrap()).collect::<Vec<u8>>()
    );
    assert_eq!(vec![vec![1], vec![2]].concat(), [1, 2]);
    assert_eq!(vec!["a", "b"].join("-"), "a-b");
    assert_eq!([1, 2].map(|number| 2 * number), [2, 4]);
    assert_eq!((&[1, 2]).map(|number| 2 * number), [2, 4]);
    assert_eq!(vec.iter().zip(&[7, 8]).map(|(a, b)| a + b).take(1).chain([9]).collect::<Vec<u8>>(), [8, 9]);
    assert_eq!(std::iter::once(1).chain(std::iter::repeat(2)).take(2).sum::<i32>(), 3);
    assert_eq!(std::array::from_fn::<_, 2, _>(|index| index), [0, 1]);
    assert_eq!(vec.windows(2).count(), 4);
    assert_eq!(vec.split_off(4), [5]);
    let mut text = String::new();
    [b'x', b'y'].as_slice().take(1).chain([b'z'].as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "xz");
    let boxed: Box<[u8]> = vec.into();
    assert_eq!((boxed.get(0), boxed.len()), (Some(&1), 4));
    let slice: &[u8] = &boxed;
    assert_eq!((slice.get(0), slice.len(), slice.is_empty()), (Some(&1), 4, false));
}

struct Loaders {
    train: Loader<(Vec<[f32; 2]>, Vec<u8>)>,
    lines: StreamLoader<Vec<String>>,
}

fn train(augment: bool) -> Loader<(Vec<[f32; 2]>, Vec<u8>)> {
    let images = vec![([1.0_f32, 2.0], 7_u8); 3].transform(move |(image, label), random| match augment {
        false => (image, label),
        true => (image.map(|pixel| pixel + random.uniform() as f32), label),
    });
    Loader::new(images).batch_size(2)
}

#[test]
fn a_loader_is_named_by_its_batch_whatever_it_is_made_of() {
    let mut loaders = Loaders {
        train: train(false),
        lines: StreamLoader::new(stream(|_| ["a", "b"].into_iter()).try_map(|text| Ok(text.to_owned()))),
    };
    let mut epoch = loaders.train.epoch(At::epoch(0, 42)).unwrap();
    assert_eq!(epoch.next().unwrap().unwrap().batch, (vec![[1.0, 2.0]; 2], vec![7; 2]));
    drop(epoch);
    loaders.train = train(true).shuffle();
    assert_eq!(loaders.train.batches(), Some(2));
    let mut epoch = loaders.lines.epoch(At::epoch(0, 42)).unwrap();
    assert_eq!(epoch.next().unwrap().unwrap().batch, ["a"]);
    fn is_shared<T: Send + Sync + 'static>(_: &T) {}
    drop(epoch);
    is_shared(&loaders);
}

//! Arrays by name, in order.

use std::collections::BTreeMap;
use std::fmt;

use super::spare;
use crate::BoxError;
use crate::error::WithCauses;
use crate::text::Count;

/// Arrays by name, in the order of their names: the content of one safetensors file.
///
/// A single number is an array without dimensions. Text is a one-dimensional array of its UTF-8 bytes.
/// There is no other data, so two equal states are equal byte for byte on disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    arrays: BTreeMap<String, Array>,
}

/// More than any run counts, and the largest whole number that every reader of JSON reads exactly. A
/// larger count in a checkpoint is damage, and adding to a smaller one cannot overflow.
pub const MAX_COUNT: u64 = 1 << 53;

/// An array in host memory: little-endian bytes in row-major order.
#[derive(Clone, PartialEq, Eq)]
pub struct Array {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The type of an array's elements, named as in safetensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Dtype {
    Bool,
    U8,
    I8,
    U16,
    I16,
    F16,
    BF16,
    U32,
    I32,
    F32,
    U64,
    I64,
    F64,
}

impl Dtype {
    /// Every type.
    pub const ALL: [Dtype; 13] = [
        Dtype::Bool,
        Dtype::U8,
        Dtype::I8,
        Dtype::U16,
        Dtype::I16,
        Dtype::F16,
        Dtype::BF16,
        Dtype::U32,
        Dtype::I32,
        Dtype::F32,
        Dtype::U64,
        Dtype::I64,
        Dtype::F64,
    ];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Dtype::Bool | Dtype::U8 | Dtype::I8 => 1,
            Dtype::U16 | Dtype::I16 | Dtype::F16 | Dtype::BF16 => 2,
            Dtype::U32 | Dtype::I32 | Dtype::F32 => 4,
            Dtype::U64 | Dtype::I64 | Dtype::F64 => 8,
        }
    }

    /// Bytes of an array of `shape`. Returns `None` on overflow. The elements are counted first, so an
    /// array without elements has no bytes, however long its other dimensions are.
    pub fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        let elements = shape.iter().try_fold(1_usize, |elements, &n| elements.checked_mul(n))?;
        elements.checked_mul(self.size())
    }
}

/// A number that can be an element of an [`Array`].
pub trait Element: Copy + sealed::Sealed {
    /// Its type in the array.
    const DTYPE: Dtype;
    /// Writes the little-endian bytes of `numbers` to `bytes`, up to the shorter of both.
    fn write(numbers: &[Self], bytes: &mut [u8]);
    /// Reads numbers from `bytes`, [`Dtype::size`] bytes each.
    fn read(bytes: &[u8]) -> Vec<Self>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! element {
    ($($number:ty => $dtype:ident),*) => {$(
        impl sealed::Sealed for $number {}
        impl Element for $number {
            const DTYPE: Dtype = Dtype::$dtype;
            // Chunks of a constant length: only then does this compile to a copy of a whole block.
            fn write(numbers: &[Self], bytes: &mut [u8]) {
                let (chunks, _) = bytes.as_chunks_mut::<{ size_of::<$number>() }>();
                for (chunk, number) in chunks.iter_mut().zip(numbers) {
                    *chunk = number.to_le_bytes();
                }
            }
            fn read(bytes: &[u8]) -> Vec<Self> {
                let (chunks, _) = bytes.as_chunks::<{ size_of::<$number>() }>();
                chunks.iter().map(|chunk| <$number>::from_le_bytes(*chunk)).collect()
            }
        }
        impl From<$number> for Array {
            fn from(number: $number) -> Array {
                Array::of(&[], &[number])
            }
        }
        impl TryFrom<&Array> for $number {
            type Error = BoxError;
            fn try_from(array: &Array) -> Result<$number, BoxError> {
                match (array.shape(), &*array.to_vec()?) {
                    ([], [number]) => Ok(*number),
                    (shape, _) => Err(format!("expected one number, found shape {shape:?}").into()),
                }
            }
        }
    )*};
}
element!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, u64 => U64, i64 => I64, f64 => F64);

impl Array {
    /// An array of `bytes`, as many as `shape` and `dtype` require.
    pub fn new(dtype: Dtype, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Self, BoxError> {
        let expected = dtype.bytes_of(&shape);
        if expected != Some(bytes.len()) {
            let found = bytes.len();
            return Err(
                format!("{} cannot fill {dtype:?} of shape {shape:?}", Count(found as u64, "byte")).into()
            );
        }
        Ok(Array { dtype, shape, bytes })
    }

    /// An array whose bytes are written by `fill`, which must overwrite all of them: they may hold an
    /// earlier array. For engines, whose copies then reuse the memory of an earlier one
    /// ([`with_spares`](super::with_spares)).
    pub fn filled(
        dtype: Dtype,
        shape: Vec<usize>,
        fill: impl FnOnce(&mut [u8]) -> Result<(), BoxError>,
    ) -> Result<Self, BoxError> {
        let length = dtype.bytes_of(&shape);
        let length = length.ok_or_else(|| format!("{dtype:?} of shape {shape:?} fits into no memory"))?;
        let mut bytes = spare::bytes(length);
        fill(&mut bytes)?;
        Ok(Array { dtype, shape, bytes })
    }

    /// A one-dimensional array of `numbers`.
    pub fn from_slice<T: Element>(numbers: &[T]) -> Self {
        Array::of(&[numbers.len()], numbers)
    }

    /// Text as an array of its UTF-8 bytes.
    pub fn from_text(text: &str) -> Self {
        Array::from_slice(text.as_bytes())
    }

    fn of<T: Element>(shape: &[usize], numbers: &[T]) -> Self {
        let mut bytes = spare::bytes(size_of_val(numbers));
        T::write(numbers, &mut bytes);
        Array { dtype: T::DTYPE, shape: shape.to_vec(), bytes }
    }

    /// The elements' type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The length of each dimension; empty for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Little-endian bytes in row-major order.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, by value.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// All elements in row-major order. It is an error if they are of another type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, BoxError> {
        if self.dtype != T::DTYPE {
            return Err(format!("expected {:?}, found {:?}", T::DTYPE, self.dtype).into());
        }
        Ok(T::read(&self.bytes))
    }

    /// Whether no element is infinite or NaN; true if they are not floats.
    pub fn is_finite(&self) -> bool {
        self.largest_magnitude().is_none_or(|(largest, infinity)| largest < infinity)
    }

    /// Whether an element is NaN.
    pub fn has_nan(&self) -> bool {
        self.largest_magnitude().is_some_and(|(largest, infinity)| largest > infinity)
    }

    /// The largest of the floats' bits without their signs, and the bits of infinity: anything larger
    /// is NaN. Returns `None` if the elements are not floats.
    fn largest_magnitude(&self) -> Option<(u64, u64)> {
        fn largest<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> u64) -> u64 {
            bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).max().unwrap_or(0)
        }
        let half = |bytes: [u8; 2]| u64::from(u16::from_le_bytes(bytes) & 0x7FFF);
        match self.dtype {
            Dtype::F16 => Some((largest(&self.bytes, half), 0x7C00)),
            Dtype::BF16 => Some((largest(&self.bytes, half), 0x7F80)),
            Dtype::F32 => {
                let read = |bytes| u64::from(u32::from_le_bytes(bytes) & 0x7FFF_FFFF);
                Some((largest(&self.bytes, read), 0x7F80_0000))
            }
            Dtype::F64 => {
                let read = |bytes| u64::from_le_bytes(bytes) & (u64::MAX >> 1);
                Some((largest(&self.bytes, read), 0x7FF0_0000_0000_0000))
            }
            _ => None,
        }
    }

    /// The text in this array. It is an error if it is not UTF-8.
    pub fn to_text(&self) -> Result<String, BoxError> {
        Ok(String::from_utf8(self.to_vec()?)?)
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{:?}", self.dtype, self.shape)
    }
}

impl StateDict {
    /// An empty one.
    pub fn new() -> Self {
        StateDict::default()
    }

    /// Adds an array. It is an error if the name is in use.
    pub fn insert(&mut self, name: impl Into<String>, array: impl Into<Array>) -> Result<(), BoxError> {
        use std::collections::btree_map::Entry;
        match self.arrays.entry(name.into()) {
            Entry::Occupied(entry) => Err(format!("two arrays are named `{}`", entry.key()).into()),
            Entry::Vacant(entry) => {
                entry.insert(array.into());
                Ok(())
            }
        }
    }

    /// Adds every array of `dict` under `prefix.name`.
    pub fn insert_all(&mut self, prefix: &str, dict: StateDict) -> Result<(), BoxError> {
        for (name, array) in dict.arrays {
            self.insert(format!("{prefix}.{name}"), array)?;
        }
        Ok(())
    }

    /// The arrays whose name begins with `prefix.`, under the rest of their names.
    pub fn under(&self, prefix: &str) -> StateDict {
        let rest = |name: &str| Some(name.strip_prefix(prefix)?.strip_prefix('.')?.to_owned());
        let arrays = self.arrays.range(prefix.to_owned()..);
        let arrays = arrays.take_while(|(name, _)| name.starts_with(prefix));
        StateDict { arrays: arrays.filter_map(|(name, array)| Some((rest(name)?, array.clone()))).collect() }
    }

    /// The array called `name`. It is an error if there is none.
    pub fn array(&self, name: &str) -> Result<&Array, BoxError> {
        self.arrays.get(name).ok_or_else(|| format!("no array is named `{name}`").into())
    }

    /// The single number called `name`. It is an error if there is none, or if it is of another type.
    pub fn get<T>(&self, name: &str) -> Result<T, BoxError>
    where
        T: for<'a> TryFrom<&'a Array, Error = BoxError>,
    {
        T::try_from(self.array(name)?).map_err(|cause| format!("`{name}`: {}", WithCauses(&*cause)).into())
    }

    /// The count called `name`, a single `u64`. An error as of [`get`](StateDict::get), and if it is
    /// more than [`MAX_COUNT`].
    pub fn count(&self, name: &str) -> Result<u64, BoxError> {
        match self.get(name)? {
            count if count <= MAX_COUNT => Ok(count),
            count => Err(format!("`{name}`: {count} is more than any run counts; it is damaged").into()),
        }
    }

    /// Removes the array called `name` and returns it. It is an error if there is none.
    pub fn remove(&mut self, name: &str) -> Result<Array, BoxError> {
        self.arrays.remove(name).ok_or_else(|| format!("no array is named `{name}`").into())
    }

    /// Whether there is an array called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    /// The number of arrays.
    pub fn len(&self) -> usize {
        self.arrays.len()
    }

    /// Whether there are no arrays.
    pub fn is_empty(&self) -> bool {
        self.arrays.is_empty()
    }

    /// Every array with its name, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.arrays.iter().map(|(name, array)| (&**name, array))
    }

    /// Checks that `other` has the same names, types and shapes as this one.
    ///
    /// The error lists all differences: missing names, unknown names, and arrays of another type or
    /// shape.
    pub fn check_same_layout(&self, other: &StateDict) -> Result<(), BoxError> {
        let mut wrong = Vec::new();
        for (name, array) in &self.arrays {
            match other.arrays.get(name) {
                None => wrong.push(format!("`{name}` is missing")),
                Some(found) if (found.dtype, &found.shape) != (array.dtype, &array.shape) => {
                    wrong.push(format!("`{name}` is {found:?}, not {array:?}"));
                }
                Some(_) => {}
            }
        }
        let unknown = other.arrays.keys().filter(|name| !self.arrays.contains_key(*name));
        wrong.extend(unknown.map(|name| format!("`{name}` is not known here")));
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
    }
}

impl IntoIterator for StateDict {
    type Item = (String, Array);
    type IntoIter = std::collections::btree_map::IntoIter<String, Array>;

    fn into_iter(self) -> Self::IntoIter {
        self.arrays.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dict(arrays: &[(&str, Array)]) -> StateDict {
        let mut dict = StateDict::new();
        arrays.iter().for_each(|(name, array)| dict.insert(*name, array.clone()).unwrap());
        dict
    }

    #[test]
    fn two_equal_names_are_an_error_and_the_first_array_stays() {
        let mut found = dict(&[("a", 1_u8.into())]);
        assert_eq!(found.insert("a", 2_u8).unwrap_err().to_string(), "two arrays are named `a`");
        assert_eq!(found.get::<u8>("a").unwrap(), 1);
    }

    #[test]
    fn numbers_lists_and_texts_come_back_as_they_were() {
        let found = dict(&[
            ("f", f64::MIN_POSITIVE.into()),
            ("i", i8::MIN.into()),
            ("list", Array::from_slice(&[1.5_f32, f32::NAN])),
            ("text", Array::from_text("caf\u{e9}")),
        ]);
        assert_eq!(found.get::<f64>("f").unwrap(), f64::MIN_POSITIVE);
        assert_eq!(found.get::<i8>("i").unwrap(), i8::MIN);
        let list = found.array("list").unwrap().to_vec::<f32>().unwrap();
        assert_eq!(list.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), [0x3FC0_0000, f32::NAN.to_bits()]);
        assert_eq!(found.array("text").unwrap().to_text().unwrap(), "caf\u{e9}");
    }

    #[test]
    fn what_is_asked_for_in_another_type_or_shape_is_an_error_that_says_so() {
        let found = dict(&[("n", 1_u8.into()), ("list", Array::from_slice(&[1_u8, 2]))]);
        let text = |error: BoxError| error.to_string();
        assert_eq!(text(found.get::<f32>("n").unwrap_err()), "`n`: expected F32, found U8");
        assert_eq!(
            text(found.get::<u8>("list").unwrap_err()),
            "`list`: expected one number, found shape [2]"
        );
        assert_eq!(text(found.get::<u8>("m").unwrap_err()), "no array is named `m`");
        assert_eq!(
            text(Array::new(Dtype::F32, vec![2, 3], vec![0; 23]).unwrap_err()),
            "23 bytes cannot fill F32 of shape [2, 3]"
        );
        assert!(Array::new(Dtype::F64, vec![usize::MAX, 2], Vec::new()).is_err());
    }

    #[test]
    fn infinity_and_nan_are_seen_in_every_type_and_large_numbers_are_not_taken_for_them() {
        let check = |dtype: Dtype, bits: u64, finite, nan| {
            let bytes = bits.to_le_bytes()[..dtype.size()].to_vec();
            let array = Array::new(dtype, vec![], bytes).unwrap();
            assert_eq!((array.is_finite(), array.has_nan()), (finite, nan), "{dtype:?} {bits:x}");
        };
        for (dtype, largest) in [
            (Dtype::F16, 0x7BFF),
            (Dtype::BF16, 0x7F7F),
            (Dtype::F32, 0x7F7F_FFFF),
            (Dtype::F64, 0x7FEF_FFFF_FFFF_FFFF_u64),
        ] {
            let sign = 1 << (8 * dtype.size() - 1);
            for bits in [0, sign] {
                check(dtype, bits, true, false);
                check(dtype, bits | largest, true, false);
                check(dtype, bits | (largest + 1), false, false);
                check(dtype, bits | (largest + 2), false, true);
            }
        }
        check(Dtype::U8, 0xFF, true, false);
    }

    #[test]
    fn a_count_that_no_run_comes_to_is_an_error() {
        let found = dict(&[("n", MAX_COUNT.into()), ("m", (MAX_COUNT + 1).into()), ("k", 1_u8.into())]);
        assert_eq!(found.count("n").unwrap(), MAX_COUNT);
        let error = |name| found.count(name).unwrap_err().to_string();
        assert_eq!(error("m"), "`m`: 9007199254740993 is more than any run counts; it is damaged");
        assert_eq!(error("k"), "`k`: expected U64, found U8");
    }

    #[test]
    fn an_array_without_elements_has_no_bytes_however_long_its_other_dimensions_are() {
        for shape in [vec![usize::MAX, 0], vec![0, usize::MAX, 2], vec![1 << 62, 0]] {
            assert_eq!(Array::new(Dtype::F64, shape.clone(), Vec::new()).unwrap().shape(), shape);
        }
        assert!(Array::new(Dtype::F64, vec![1 << 62], Vec::new()).is_err());
    }

    #[test]
    fn what_was_put_under_a_prefix_is_found_under_it_alone() {
        let inner = dict(&[("x", 1_u8.into()), ("y.z", 2_u8.into())]);
        let mut outer = dict(&[("a", 0_u8.into()), ("ab.x", 9_u8.into()), ("a-.x", 9_u8.into())]);
        outer.insert_all("a", inner.clone()).unwrap();
        assert_eq!(outer.under("a"), inner);
        assert!(outer.under("b").is_empty());
    }

    #[test]
    fn a_layout_that_differs_is_told_in_full() {
        let ours = dict(&[("a", 1_u8.into()), ("b", 1_u8.into()), ("c", 1_u8.into())]);
        let theirs = dict(&[("a", 2_u8.into()), ("b", 1_u16.into()), ("d", 1_u8.into())]);
        assert!(ours.check_same_layout(&ours).is_ok());
        assert_eq!(
            ours.check_same_layout(&theirs).unwrap_err().to_string(),
            "`b` is U16[], not U8[]; `c` is missing; `d` is not known here"
        );
    }
}

//! Text as numbers: the alphabet, and the windows that a network trains on.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;
use regimen::BoxError;
use regimen::data::Dataset;
use regimen::text::Count;

/// A text with its last tenth held out.
#[derive(Debug)]
pub(crate) struct Text {
    /// The distinct characters of the text.
    pub(crate) alphabet: Alphabet,
    /// Every window of the first nine tenths.
    pub(crate) train: Windows,
    /// Adjacent windows of the last tenth. Each character is predicted once, except those of a
    /// remainder shorter than a window.
    pub(crate) held_out: Windows,
}

impl Text {
    /// Reads the file at `path`, or the bundled text, in windows that predict `context` characters.
    /// Returns an error if the text is not UTF-8 or is shorter than a window.
    pub(crate) fn open(path: Option<&Path>, context: usize) -> Result<Self, BoxError> {
        let Some(path) = path else {
            let mut bytes = Vec::new();
            GzDecoder::new(&include_bytes!("../data/shakespeare.txt.gz")[..]).read_to_end(&mut bytes)?;
            return Text::parse("the bundled text", &bytes, context);
        };
        let name = format!("`{}`", path.display());
        let bytes = std::fs::read(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
        Text::parse(&name, &bytes, context)
    }

    fn parse(name: &str, bytes: &[u8], context: usize) -> Result<Self, BoxError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            format!("{name} is not UTF-8: byte {at} begins no character; save it as UTF-8")
        })?;
        let alphabet = Alphabet::of(text);
        let characters = alphabet.encode(text)?;
        let learnt = characters.len() - characters.len() / 10;
        let (train, held_out) = characters.split_at(learnt);
        let windows = |characters: &[u32], stride| Windows {
            characters: characters.into(),
            length: context.saturating_add(1),
            stride,
        };
        let text = Text { alphabet, train: windows(train, 1), held_out: windows(held_out, context.max(1)) };
        if text.held_out.is_empty() {
            let (found, needed) = (characters.len(), context.saturating_add(1).saturating_mul(10));
            return Err(format!(
                "{name} has {}; a context of {context} needs {needed}: \
                 give a longer text or a shorter context",
                Count(found as u64, "character")
            )
            .into());
        }
        Ok(text)
    }
}

/// The distinct characters of a text, numbered.
#[derive(Clone, Debug)]
pub(crate) struct Alphabet {
    /// Sorted, so that the numbers depend on the text only.
    characters: Vec<char>,
}

impl Alphabet {
    fn of(text: &str) -> Self {
        let mut characters: Vec<char> = text.chars().collect();
        characters.sort_unstable();
        characters.dedup();
        Alphabet { characters }
    }

    /// Number of characters.
    pub(crate) fn len(&self) -> usize {
        self.characters.len()
    }

    /// Returns the number of each character, or an error if one is not in this alphabet.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, BoxError> {
        let number = |(at, character)| match self.characters.binary_search(&character) {
            Ok(number) => Ok(number as u32),
            Err(_) => Err(format!("{character:?} at byte {at} is not in the alphabet of the text").into()),
        };
        text.char_indices().map(number).collect()
    }

    /// Returns the text of `numbers`, without those that are out of range.
    pub(crate) fn decode(&self, numbers: &[u32]) -> String {
        numbers.iter().filter_map(|&number| self.characters.get(number as usize)).collect()
    }
}

/// Windows of `length` characters, `stride` characters apart.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    characters: Arc<[u32]>,
    length: usize,
    stride: usize,
}

impl Dataset for Windows {
    type Item = Vec<u32>;

    fn len(&self) -> usize {
        match self.characters.len().checked_sub(self.length) {
            Some(room) => room / self.stride + 1,
            None => 0,
        }
    }

    fn sample(&self, index: usize) -> Result<Vec<u32>, BoxError> {
        let window = index.checked_mul(self.stride).and_then(|begin| self.characters.get(begin..));
        match window.and_then(|rest| rest.get(..self.length)) {
            Some(window) => Ok(window.to_vec()),
            None => Err(format!("the text has {} only", Count(self.len() as u64, "window")).into()),
        }
    }

    fn name(&self) -> Cow<'_, str> {
        "windows of text".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_to_the_same_text() {
        for text in ["", "to be, or not to be\n", "na\u{ef}ve fa\u{e7}ade \u{2013} \u{96f6} \u{1f980}\r\n"] {
            let alphabet = Alphabet::of(text);
            assert_eq!(alphabet.decode(&alphabet.encode(text).unwrap()), text);
        }
        assert_eq!(Alphabet::of("cabba").encode("abc").unwrap(), [0, 1, 2]);
    }

    #[test]
    fn an_unknown_character_is_an_error_that_says_where() {
        let error = Alphabet::of("a\u{e9}").encode("\u{e9}az").unwrap_err().to_string();
        assert_eq!(error, "'z' at byte 3 is not in the alphabet of the text");
    }

    #[test]
    fn windows_cover_the_text_and_share_as_much_as_their_stride_says() {
        fn check(length: usize, stride: usize, expected: &[&str]) {
            let text = "abcdefg";
            let alphabet = Alphabet::of(text);
            let windows = Windows { characters: alphabet.encode(text).unwrap().into(), length, stride };
            let found: Vec<String> =
                (0..windows.len()).map(|i| alphabet.decode(&windows.sample(i).unwrap())).collect();
            assert_eq!(found, expected);
            let error = windows.sample(windows.len()).unwrap_err().to_string();
            assert_eq!(error, format!("the text has {} only", Count(expected.len() as u64, "window")));
        }
        check(5, 1, &["abcde", "bcdef", "cdefg"]);
        check(3, 2, &["abc", "cde", "efg"]);
        check(4, 3, &["abcd", "defg"]);
        check(6, 5, &["abcdef"]);
        check(8, 1, &[]);
    }

    #[test]
    fn the_last_tenth_is_held_out() {
        let text = Text::parse("a text", &[[b'a'; 90].as_slice(), &[b'b'; 10]].concat(), 4).unwrap();
        assert_eq!((text.train.len(), text.held_out.len()), (86, 2));
        assert_eq!(text.held_out.sample(0).unwrap(), [1; 5]);
        assert_eq!(text.train.sample(85).unwrap(), [0; 5]);
    }

    #[test]
    fn the_bundled_text_is_what_its_licence_note_says() {
        let text = Text::open(None, 64).unwrap();
        assert_eq!(text.alphabet.len(), 63);
        assert_eq!(text.train.characters.len() + text.held_out.characters.len(), 399_858);
    }

    #[test]
    fn a_text_that_cannot_be_used_says_why() {
        fn check(bytes: &[u8], expected: &str) {
            let error = Text::parse("`plays.txt`", bytes, 8).unwrap_err().to_string();
            assert_eq!(error, format!("`plays.txt` {expected}"));
        }
        let short = "a context of 8 needs 90: give a longer text or a shorter context";
        check(b"", &format!("has 0 characters; {short}"));
        check(&[b'a'; 89], &format!("has 89 characters; {short}"));
        check(b"caf\xe9 noir", "is not UTF-8: byte 3 begins no character; save it as UTF-8");
        let error = Text::open(Some(Path::new("no/such/text")), 8).unwrap_err().to_string();
        assert!(error.starts_with("`no/such/text` cannot be read: "), "{error}");
    }
}

//! Measures of text against jiwer, sacrebleu and rouge-score.

use regimen::BoxError;
use regimen::metric::{Bleu, Distinct, ErrorRate, Measure, Rouge, edit_distance};
use regimen::random::Random;
use regimen::saved::Stateful;
use serde::{Deserialize, Serialize};

use super::parts::at_once_and_merged;
use super::reference::{answers, assert_close};

#[derive(Serialize)]
struct Case {
    texts: Vec<String>,
    /// As many for each text.
    references: Vec<Vec<String>>,
}

#[derive(Deserialize)]
struct Answer {
    wer: Option<f64>,
    cer: Option<f64>,
    bleu: Option<f64>,
    unsmoothed: Option<f64>,
    bleu_of_all: Option<f64>,
    rouge: [Option<f64>; 3],
    distinct: [Option<f64>; 3],
}

const ROUGE: [fn() -> Rouge; 3] = [Rouge::rouge_1, Rouge::rouge_2, Rouge::rouge_l];
const WORDS: [&str; 9] =
    ["the", "cat", "a", "Cat", "stra\u{df}e", "e\u{301}", "\u{65e5}\u{672c}", "\u{1f600}", "."];

/// Up to 8 texts of up to 12 words, each with references that copy most of it, or nothing. Some have white space at
/// their ends and twice between words.
fn cases() -> Vec<Case> {
    let mut random = Random::new(6);
    (0..1_200).map(|_| case(&mut random)).collect()
}

fn case(random: &mut Random) -> Case {
    let vocabulary = 1 + random.below(WORDS.len() as u64);
    let kept = random.below(10);
    let references = 1 + random.below(3);
    let word = |random: &mut Random| WORDS[random.below(vocabulary) as usize];
    let words = |random: &mut Random| (0..random.below(13)).map(|_| word(random)).collect::<Vec<_>>();
    let text = |random: &mut Random, words: &[&str]| match random.below(8) {
        0 => format!("  {}", words.join("  ")),
        1 => format!("{}\n", words.join(" ")),
        _ => words.join(" "),
    };
    let (mut texts, mut all_references) = (Vec::new(), Vec::new());
    for _ in 0..random.below(9) {
        let original = words(random);
        let edited = |random: &mut Random| {
            let mut edited = Vec::new();
            for &same in &original {
                match random.below(10) {
                    n if n < kept => edited.push(same),
                    n if n % 3 == 0 => edited.extend([same, word(random)]),
                    n if n % 3 == 1 => edited.push(word(random)),
                    _ => {}
                }
            }
            text(random, &edited)
        };
        all_references.push((0..references).map(|_| edited(random)).collect());
        texts.push(text(random, &original));
    }
    Case { texts, references: all_references }
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

#[test]
fn reference_values_are_those_of_jiwer_sacrebleu_and_rouge_score() -> Result<(), BoxError> {
    let cases = cases();
    let Some(expected) = answers::<Vec<Answer>>("text.py", &cases) else { return Ok(()) };
    assert_eq!(expected.len(), cases.len());
    let mut random = Random::new(7);
    for (number, (case, expected)) in cases.iter().zip(expected).enumerate() {
        let texts = strs(&case.texts);
        let all: Vec<_> = case.references.iter().map(|references| strs(references)).collect();
        let all: Vec<_> = all.iter().map(Vec::as_slice).collect();
        let first: Vec<_> = all.iter().map(|references| references[0]).collect();
        for (empty, expected) in [(ErrorRate::wer(), expected.wer), (ErrorRate::cer(), expected.cer)] {
            let [whole, merged] = at_once_and_merged(&empty, texts.len(), &mut random, |rate, part| {
                rate.update((&texts[part.clone()], &first[part]))
            })?;
            assert_eq!(merged, whole);
            assert_close(whole.compute(), expected, &format!("case {number}: {whole:?}"));
        }
        for (empty, expected) in [(Bleu::new(), expected.bleu), (Bleu::unsmoothed(), expected.unsmoothed)] {
            let [whole, merged] = at_once_and_merged(&empty, texts.len(), &mut random, |bleu, part| {
                bleu.update((&texts[part.clone()], &first[part]))
            })?;
            assert_eq!(merged, whole);
            assert_close(whole.compute(), expected, &format!("case {number}: {whole:?}"));
        }
        let [whole, merged] = at_once_and_merged(&Bleu::new(), texts.len(), &mut random, |bleu, part| {
            bleu.update_references(&texts[part.clone()], &all[part])
        })?;
        assert_eq!(merged, whole);
        assert_close(whole.compute(), expected.bleu_of_all, &format!("case {number}: {whole:?}"));
        for (new, expected) in ROUGE.iter().zip(expected.rouge) {
            let both = at_once_and_merged(&new(), texts.len(), &mut random, |rouge, part| {
                rouge.update((&texts[part.clone()], &first[part]))
            })?;
            for found in both {
                assert_close(found.compute(), expected, &format!("case {number}: {found:?}"));
            }
        }
        for (n, expected) in (1..).zip(expected.distinct) {
            let empty = Distinct::new(n)?;
            let [whole, merged] = at_once_and_merged(&empty, texts.len(), &mut random, |distinct, part| {
                distinct.update(&texts[part])
            })?;
            assert_eq!(merged, whole);
            assert_close(whole.compute(), expected, &format!("case {number}: {whole:?}"));
        }
    }
    Ok(())
}

#[test]
fn edit_distances_are_those_known() {
    let check = |a: &str, b: &str, expected| {
        let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
        assert_eq!((edit_distance(&a, &b), edit_distance(&b, &a)), (expected, expected), "{a:?} {b:?}");
    };
    check("", "", 0);
    check("abc", "", 3);
    check("abc", "abc", 0);
    check("kitten", "sitting", 3);
    check("intention", "execution", 5);
    check("Saturday", "Sunday", 3);
    check("stra\u{df}e", "strasse", 2);
}

#[test]
fn error_rates_count_edits_over_all_texts() -> Result<(), BoxError> {
    let (mut wer, mut cer) = (ErrorRate::wer(), ErrorRate::cer());
    let (texts, references) = ([" a  b\tc ", "", "x y"], ["a b", "z", ""]);
    wer.update((&texts, &references))?;
    cer.update((&texts, &references))?;
    assert_eq!((wer.edits(), wer.length(), wer.compute()), (1 + 1 + 2, 3, Some(4.0 / 3.0)));
    assert_eq!((cer.edits(), cer.length(), cer.compute()), (3 + 1 + 3, 4, Some(7.0 / 4.0)));

    let mut wer = ErrorRate::wer();
    wer.update((&["inserted"], &[""]))?;
    assert_eq!((wer.edits(), wer.compute()), (1, None));
    Ok(())
}

#[test]
fn bleu_is_that_computed_by_hand() -> Result<(), BoxError> {
    let value = |mut bleu: Bleu, texts: &[&str], references: &[&[&str]]| {
        bleu.update_references(texts, references)?;
        Ok::<_, BoxError>(bleu.compute())
    };
    let check = |found: Option<f64>, expected: f64| {
        assert!((found.unwrap() - expected).abs() < 1e-15, "{found:?} instead of {expected}");
    };
    // Papineni's candidate of "the" seven times: 2 of 7 words are right, and no pair.
    let (the, mat) =
        (["the the the the the the the"], ["the cat is on the mat", "there is a cat on the mat"]);
    check(
        value(Bleu::new(), &the, &[&mat])?,
        (2.0 / 7.0 * (0.5 / 6.0) * (0.25 / 5.0) * (0.125 / 4.0_f64)).powf(0.25),
    );
    assert_eq!(value(Bleu::unsmoothed(), &the, &[&mat])?, Some(0.0));
    // Lengths of the references are as near as each other, so the shorter one counts.
    check(value(Bleu::new(), &["a b c d"], &[&["a b c d e f", "a b"]])?, 1.0);
    check(value(Bleu::new(), &["a b c d"], &[&["a b c d e f"]])?, (-0.5_f64).exp());
    assert_eq!(value(Bleu::new(), &["a b c d"], &[&["w x y z"]])?, Some(0.0));
    assert_eq!(value(Bleu::new(), &["a b c"], &[&["a b c"]])?, Some(0.0));
    assert_eq!(value(Bleu::new(), &[""], &[&["a"]])?, Some(0.0));
    assert_eq!(value(Bleu::new(), &[""], &[&["a", " "]])?, None);
    assert_eq!(value(Bleu::new(), &[], &[])?, None);
    Ok(())
}

#[test]
fn rouge_is_that_computed_by_hand() -> Result<(), BoxError> {
    let value = |new: fn() -> Rouge, text: &str, reference: &str| {
        let mut rouge = new();
        rouge.update((&[text], &[reference]))?;
        Ok::<_, BoxError>(rouge.compute())
    };
    for (text, reference, expected) in [
        ("a b c", "a b c", [1.0, 1.0, 1.0]),
        // All 4 words are among the 5, one pair of 3 is among the 4, and "b c d" is in the same order.
        ("a b c d", "b c x a d", [8.0 / 9.0, 2.0 / 7.0, 6.0 / 9.0]),
        ("a a a", "a", [0.5, 0.0, 0.5]),
        ("a", "b", [0.0, 0.0, 0.0]),
        ("", "a", [0.0, 0.0, 0.0]),
        ("", "", [0.0, 0.0, 0.0]),
    ] {
        for (new, expected) in ROUGE.into_iter().zip(expected) {
            assert_eq!(value(new, text, reference)?, Some(expected), "{:?}: {text}", new());
        }
    }
    // The mean over texts, not of all words together.
    let mut rouge = Rouge::rouge_1();
    rouge.update((&["a b c", "a"], &["a b c", "b"]))?;
    assert_eq!(rouge.compute(), Some(0.5));
    assert_eq!(Rouge::rouge_1().compute(), None);
    Ok(())
}

#[test]
fn distinct_ngrams_are_counted_once() -> Result<(), BoxError> {
    let value = |n, texts: &[&str]| {
        let mut distinct = Distinct::new(n)?;
        distinct.update(texts)?;
        Ok::<_, BoxError>(distinct.compute())
    };
    let texts = ["a b a b", "b a", ""];
    assert_eq!(value(1, &texts)?, Some(2.0 / 6.0));
    assert_eq!(value(2, &texts)?, Some(2.0 / 4.0));
    assert_eq!(value(3, &texts)?, Some(1.0));
    assert_eq!(value(5, &texts)?, None);
    assert_eq!(value(2, &["a bc", "ab c"])?, Some(1.0));
    Ok(())
}

#[test]
fn bad_texts_and_other_settings_are_errors_and_count_nothing() -> Result<(), BoxError> {
    let check = |result: Result<(), BoxError>, expected: &str| {
        assert_eq!(result.map_err(|error| error.to_string()), Err(expected.to_owned()));
    };
    let (mut wer, mut bleu, mut rouge) = (ErrorRate::wer(), Bleu::new(), Rouge::rouge_1());
    let lengths = "1 predictions for 2 targets; as many are needed";
    check(wer.update((&["a"], &["a", "b"])), lengths);
    check(bleu.update((&["a"], &["a", "b"])), lengths);
    check(bleu.update_references(&["a"], &[&["a"], &["b"]]), lengths);
    check(rouge.update((&["a"], &["a", "b"])), lengths);
    check(bleu.update_references(&["a", "b"], &[&["a"], &[]]), "text 1 of the batch has no reference");
    assert_eq!((wer, bleu, rouge), (ErrorRate::wer(), Bleu::new(), Rouge::rouge_1()));

    let mut distinct = Distinct::new(1)?;
    check(Distinct::new(0).map(drop), "n-grams of 0 words are all equal; give 1 or more");
    check(wer.merge(&ErrorRate::cer()), "wer and cer cannot be merged");
    check(bleu.merge(&Bleu::unsmoothed()), "BLEU with and without smoothing cannot be merged");
    check(rouge.merge(&Rouge::rouge_l()), "ROUGE-1 and ROUGE-L cannot be merged");
    check(distinct.merge(&Distinct::new(2)?), "distinct-1 and distinct-2 cannot be merged");
    check(wer.check_state_dict(&ErrorRate::cer().state_dict()?), "the saved measure is cer, this one wer");
    check(bleu.check_state_dict(&Bleu::unsmoothed().state_dict()?), "the saved BLEU has another smoothing");
    check(
        rouge.check_state_dict(&Rouge::rouge_2().state_dict()?),
        "the saved measure is ROUGE-2, this one ROUGE-1",
    );
    check(
        distinct.check_state_dict(&Distinct::new(2)?.state_dict()?),
        "the saved measure is distinct-2, this one distinct-1",
    );
    Ok(())
}

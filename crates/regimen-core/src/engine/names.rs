//! Patterns of parameter names.

/// Accepts the names that match one of `patterns`, in which `*` matches any text, also empty or with dots.
/// For the groups of an engine:
///
/// ```
/// let no_decay = regimen_core::engine::any_of(["*.bias", "*norm*"]);
/// assert!(no_decay("encoder.2.bias") && no_decay("encoder.norm1.weight"));
/// assert!(!no_decay("encoder.2.weight"));
/// ```
pub fn any_of<const N: usize>(patterns: [&str; N]) -> impl Fn(&str) -> bool + Clone + use<'_, N> {
    move |name| patterns.iter().any(|pattern| matches(pattern, name))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            // The text behind the star may begin anywhere.
            let begins = name.char_indices().map(|(i, _)| i).chain([name.len()]);
            begins.into_iter().any(|i| matches(rest, &name[i..]))
        }),
    }
}

/// The group of a buffer at `path`: that of the parameter that shares most of its path, the first of several;
/// 0 if no parameter shares any. For engines, which group the running statistics of a layer with its
/// parameters.
pub fn group_beside<'a>(path: &str, parameters: impl IntoIterator<Item = (&'a str, usize)>) -> usize {
    let common = |other: &str| path.split('.').zip(other.split('.')).take_while(|(a, b)| a == b).count();
    let mut best = (0, 0);
    for (n, (name, group)) in parameters.into_iter().enumerate() {
        let common = common(name);
        if n == 0 || common > best.0 {
            best = (common, group);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::any_of;

    #[test]
    fn a_star_stands_for_any_text_and_everything_else_for_itself() {
        let check =
            |pattern, name, expected| assert_eq!(any_of([pattern])(name), expected, "{pattern} {name}");
        check("a.b", "a.b", true);
        check("a.b", "aab", false);
        check("a.b", "a.b.c", false);
        check("*", "", true);
        check("*", "a.b", true);
        check("a*", "a", true);
        check("a*c", "a.b.c", true);
        check("a*c", "a.b.d", false);
        check("*b*", "a.b.c", true);
        check("*.bias", "bias", false);
        check("*\u{e9}*", "caf\u{e9}.bias", true);
        check("**a", "a", true);
    }

    #[test]
    fn one_of_several_patterns_is_enough_and_none_matches_nothing() {
        assert!(any_of(["x", "*.bias"])("a.bias"));
        assert!(!any_of(["x", "*.bias"])("a.weight"));
        assert!(!any_of([])(""));
    }

    #[test]
    fn a_buffer_is_of_the_group_of_the_parameters_beside_it() {
        let parameters = [("a.norm.weight", 1), ("a.linear.weight", 2), ("b.norm.bias", 3), ("b.out", 4)];
        let group = |path| super::group_beside(path, parameters);
        assert_eq!(group("a.norm.running_mean"), 1);
        assert_eq!(group("a.linear.count"), 2);
        assert_eq!(group("b.norm.running_var"), 3);
        assert_eq!(group("b.mask"), 3);
        assert_eq!(group("c"), 1);
        assert_eq!(super::group_beside("c", []), 0);
    }
}

//! Texts of errors, without what may be a credential.

/// The text of an error of a store. Of an answer in XML it has the code and the message, and of a URL not its user.
///
/// A server that refuses a request may send back parts of it: the id of the key, the token of the session, and the text
/// that was signed.
pub(crate) fn message(text: &str) -> String {
    let Some(begin) = text.find("<?xml").or_else(|| text.find("<Error")) else { return without_users(text) };
    let (said, answer) = text.split_at(begin);
    let told = ["Code", "Message"].into_iter().filter_map(|name| element(answer, name));
    without_users(&format!("{said}{}", told.collect::<Vec<_>>().join(": ")))
}

/// The text of the first element of a name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// `http://name:password@host/path` as `http://host/path`.
fn without_users(text: &str) -> String {
    let mut pieces = text.split("://");
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let host = piece.split(['/', '?', '#', ' ', '"', '`']).next().unwrap_or_default();
        let user = host.rfind('@').map_or(0, |at| at + 1);
        shown.extend(["://", &piece[user..]]);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_xml_is_its_code_and_its_message() {
        let text = "for path runs: Server returned non-2xx status code: 400: <?xml version=\"1.0\"?>\n\
                    <Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message>\
                    <Token-0>TOKEN</Token-0><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>";
        let expected = "for path runs: Server returned non-2xx status code: 400: ExpiredToken: The provided token has expired.";
        assert_eq!(message(text), expected);
        assert_eq!(message("it failed: <Error><Token-0>TOKEN</Token-0>"), "it failed: ");
    }

    #[test]
    fn a_url_loses_its_user_and_other_text_stays() {
        let text = "GET http://me:KEY@host:9/a@b?c - (https://KEY@other), a@b, x://y";
        assert_eq!(message(text), "GET http://host:9/a@b?c - (https://other), a@b, x://y");
    }
}

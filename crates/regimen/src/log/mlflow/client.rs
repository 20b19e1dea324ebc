//! Requests to a tracking server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs};

use serde_json::Value;
use ureq::http::{HeaderValue, Request, Response};
use ureq::middleware::MiddlewareNext;
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{AsSendBody, Body, SendBody};

use crate::BoxError;
use crate::error::WithCauses;
use crate::system::variable;

/// A connection to a tracking server. Credentials come from the environment and are never shown.
#[derive(Clone)]
pub(super) struct Client {
    agent: ureq::Agent,
    uri: String,
}

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    /// MLflow's name of the error.
    pub(super) code: String,
    /// The pause that the server asks for.
    pub(super) pause: Option<Duration>,
    text: String,
}

#[derive(Debug, PartialEq)]
enum Kind {
    /// The server is away or overloaded.
    Away,
    /// It wants other credentials.
    Denied,
    /// The request is wrong.
    Refused,
}

impl Client {
    /// A client of the server at `uri`, an address with `http` or `https`.
    pub(super) fn new(uri: &str) -> Result<Self, BoxError> {
        let uri = uri.trim_end_matches('/');
        let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
        let host = rest.split('/').next().unwrap_or_default();
        if host.contains('@') {
            return Err("the tracking URI holds a user or a password; set MLFLOW_TRACKING_USERNAME and \
                        MLFLOW_TRACKING_PASSWORD instead"
                .into());
        }
        if !["http", "https"].contains(&scheme) {
            return Err(format!(
                "the tracking URI {uri:?} is not the address of an MLflow server; run `mlflow server`, and give its \
                 address, such as http://127.0.0.1:5000"
            )
            .into());
        }
        let mut config = ureq::Agent::config_builder()
            // The body of an error says what is wrong.
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(3)))
            .timeout_global(Some(Duration::from_secs(10)))
            // Servers close idle connections after 5 seconds.
            .max_idle_age(Duration::from_secs(4))
            .tls_config(tls()?);
        if ["127.0.0.1", "localhost", "[::1]"].iter().any(|here| host.starts_with(here)) {
            config = config.proxy(None);
        }
        if let Some(authorization) = authorization() {
            let mut authorization = HeaderValue::from_str(&authorization)
                .map_err(|_| "the token for MLflow has a character that no header takes")?;
            authorization.set_sensitive(true);
            let authorized = move |mut request: Request<SendBody<'_>>, next: MiddlewareNext<'_>| {
                request.headers_mut().insert("authorization", authorization.clone());
                next.handle(request)
            };
            config = config.middleware(authorized);
        }
        Ok(Client { agent: config.build().new_agent(), uri: uri.to_owned() })
    }

    pub(super) fn get(&self, call: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        let mut request = self.agent.get(self.url(call));
        for (name, value) in query {
            request = request.query(name, value);
        }
        self.answer(call, request.call())
    }

    pub(super) fn post(&self, call: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.agent.post(self.url(call)).content_type("application/json");
        self.answer(call, request.send(body.to_string()))
    }

    /// Uploads a file of any size to `path` in the artifact store.
    pub(super) fn put(&self, path: &str, content: impl AsSendBody) -> Result<(), Failure> {
        let url = format!("{}/api/2.0/mlflow-artifacts/artifacts/{}", self.uri, encoded(path));
        let minute = Some(Duration::from_secs(60));
        let request = self.agent.put(url).content_type("application/octet-stream").config();
        let request = request.timeout_global(None).timeout_per_write(minute).timeout_recv_response(minute);
        self.answer("the upload", request.build().send(content)).map(drop)
    }

    fn url(&self, call: &str) -> String {
        format!("{}/api/2.0/mlflow/{call}", self.uri)
    }

    fn answer(&self, call: &str, answer: Result<Response<Body>, ureq::Error>) -> Result<Value, Failure> {
        let uri = &self.uri;
        let away = |cause: ureq::Error| {
            let text = format!("the MLflow server {uri} does not answer: {}", WithCauses(&cause));
            Failure { kind: Kind::Away, code: String::new(), pause: None, text }
        };
        let mut answer = answer.map_err(away)?;
        let status = answer.status().as_u16();
        let pause =
            answer.headers().get("retry-after").and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let text = answer.body_mut().read_to_string().map_err(away)?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let (kind, remedy) = match status {
            200..300 => return Ok(body),
            408 | 429 | 500 | 502 | 503 | 504 => (Kind::Away, ""),
            401 | 403 => (
                Kind::Denied,
                "; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
            ),
            _ => (Kind::Refused, ""),
        };
        let message: String = body["message"]
            .as_str()
            .unwrap_or(&text)
            .trim()
            .trim_end_matches('.')
            .chars()
            .take(500)
            .collect();
        Err(Failure {
            kind,
            code: body["error_code"].as_str().unwrap_or_default().to_owned(),
            pause: pause.map(Duration::from_secs),
            text: format!("the MLflow server {uri} answers {call} with {status}: {message}{remedy}"),
        })
    }
}

impl Failure {
    /// A request that cannot be made, or an answer that is of no use.
    pub(super) fn refused(text: String) -> Self {
        Failure { kind: Kind::Refused, code: String::new(), pause: None, text }
    }

    /// Whether the same request may succeed later, by itself.
    pub(super) fn is_away(&self) -> bool {
        self.kind == Kind::Away
    }

    /// Whether no later request of this kind can succeed.
    pub(super) fn is_refusal(&self) -> bool {
        self.kind == Kind::Refused
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("uri", &self.uri).finish_non_exhaustive()
    }
}

fn tls() -> Result<TlsConfig, BoxError> {
    let mut tls = TlsConfig::builder();
    if variable("MLFLOW_TRACKING_INSECURE_TLS")
        .is_some_and(|value| matches!(&*value.to_lowercase(), "true" | "1"))
    {
        tls = tls.disable_verification(true);
    }
    if let Some(path) = variable("MLFLOW_TRACKING_SERVER_CERT_PATH") {
        let file =
            fs::read(&path).map_err(|cause| format!("cannot read the certificates of {path}: {cause}"))?;
        let certificates = ureq::tls::parse_pem(&file).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        tls = tls.root_certs(RootCerts::Specific(Arc::new(certificates.collect())));
    }
    Ok(tls.build())
}

/// User and password, from the environment or `~/.mlflow/credentials`, or else a token.
fn authorization() -> Option<String> {
    let file = variable("HOME").map(|home| PathBuf::from(home).join(".mlflow/credentials"));
    let file = file.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let user = variable("MLFLOW_TRACKING_USERNAME").or_else(|| credential(&file, "mlflow_tracking_username"));
    let password =
        variable("MLFLOW_TRACKING_PASSWORD").or_else(|| credential(&file, "mlflow_tracking_password"));
    let basic = user.zip(password).map(|(user, password)| base64(format!("{user}:{password}").as_bytes()));
    let bearer = || variable("MLFLOW_TRACKING_TOKEN").map(|token| format!("Bearer {token}"));
    basic.map(|text| format!("Basic {text}")).or_else(bearer)
}

/// The value of `name` in the section `mlflow` of a file of credentials.
fn credential(file: &str, name: &str) -> Option<String> {
    let lines = file.lines().map(str::trim).skip_while(|line| *line != "[mlflow]").skip(1);
    let mut pairs = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
    pairs.find_map(|(known, value)| (known.trim() == name).then(|| value.trim().to_owned()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits =
            group.iter().enumerate().fold(0, |bits, (n, byte)| bits | u32::from(*byte) << (16 - 8 * n));
        let digit = |n: usize| char::from(DIGITS[(bits >> (18 - 6 * n)) as usize % 64]);
        (0..4).map(|n| if n <= group.len() { digit(n) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// A path as part of an address.
fn encoded(path: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    path.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_encoded_as_rfc_4648_has_it() {
        for (plain, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn credentials_are_those_of_the_section() {
        let file =
            "[other]\nuser = x\n[mlflow]\nmlflow_tracking_username = me\n user=a=b \n[next]\nlate = y\n";
        let found = ["mlflow_tracking_username", "user", "late"].map(|name| credential(file, name));
        assert_eq!(found, [Some("me".to_owned()), Some("a=b".to_owned()), None]);
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encoded("a/b-1.png"), "a/b-1.png");
        assert_eq!(encoded("a b/\u{fc}?"), "a%20b/%C3%BC%3F");
    }

    #[test]
    fn only_a_server_is_a_destination() {
        let refused = |uri: &str| Client::new(uri).unwrap_err().to_string();
        for uri in ["databricks", "file:mlruns", "sqlite:///x.db", ""] {
            assert_eq!(
                refused(uri),
                format!(
                    "the tracking URI {uri:?} is not the address of an MLflow server; run `mlflow server`, and give \
                     its address, such as http://127.0.0.1:5000"
                )
            );
        }
        assert_eq!(
            refused("https://me:secret@host/path"),
            "the tracking URI holds a user or a password; set MLFLOW_TRACKING_USERNAME and \
             MLFLOW_TRACKING_PASSWORD instead"
        );
        assert!(Client::new("http://host:5000/a@b/").is_ok());
    }
}

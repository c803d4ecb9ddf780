//! The page `/certification/`: sign in, start a run, watch it, finish it, take its report.
//!
//! Invariant: it shows and does only what CertificationService does for the same partner. Nothing is done by a GET, and
//! nothing by a form that this page did not make for this session, or that another site sends. No text of a caller
//! becomes markup, and the browser is told to run and load nothing but the two files of this page.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, LOCATION, ORIGIN, REFERRER_POLICY,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use percent_encoding::percent_decode_str;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;

use super::html::{self, escaped};
use super::report::{self, Format};
use super::session::{COOKIE_NAME, LIFE, Session, Sessions};
use crate::domain::catalogue::{Violation, field};
use crate::domain::certification::RunState;
use crate::domain::scope::Scope;
use crate::faces::auth::Callers;
use crate::faces::grpc::certification::{Watch, watch};
use crate::flows::certification::{Certification, Refused, Report};

/// Where the page lives.
pub const ROOT: &str = "/certification/";
/// Most bytes of a form.
const FORM_BYTES_MAX: usize = 4_096;
/// How long a form may take to arrive.
const FORM_WAIT: Duration = Duration::from_secs(5);
/// Most pages that are kept live at a time.
const LIVE_MAX: usize = 512;
/// A line that says nothing, so that whatever is in between keeps the connection.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// What a browser may load and run.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";

/// The page.
#[derive(Clone)]
pub struct Page {
    certification: Arc<Certification>,
    callers: Callers,
    sessions: Sessions,
    live: Arc<Semaphore>,
}

impl Page {
    /// The page over these runs.
    #[must_use]
    pub fn new(certification: Arc<Certification>, callers: Callers, sessions: Sessions) -> Self {
        Self { certification, callers, sessions, live: Arc::new(Semaphore::new(LIVE_MAX)) }
    }

    /// Whether a path is the page's; what lies below `/certification/runs` is the API's.
    #[must_use]
    pub fn has(path: &str) -> bool {
        path == "/certification" || (path.starts_with(ROOT) && !path.starts_with("/certification/runs"))
    }

    /// Answers one request of a browser.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().strip_prefix(ROOT).unwrap_or_default();
        let session = self.sessions.of(&parts.headers);
        let mut response = match (parts.method.clone(), path) {
            (Method::GET, _) if parts.uri.path() == "/certification" => to(ROOT),
            (Method::GET, "style.css") => file("text/css; charset=utf-8", html::STYLE),
            (Method::GET, "live.js") => file("text/javascript; charset=utf-8", include_str!("live.js")),
            (Method::GET, path) => self.show(path, session).await,
            (Method::POST, path) if same_site(&parts.headers, &parts.uri) => match form(body).await {
                Some(form) => self.act(path, session, &form, &parts.extensions).await,
                None => told(StatusCode::BAD_REQUEST, "The form could not be read."),
            },
            (Method::POST, _) => told(StatusCode::FORBIDDEN, "The form came from another site."),
            (_, _) => told(StatusCode::METHOD_NOT_ALLOWED, "There is nothing to do here in this way."),
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    async fn show(&self, path: &str, session: Option<Session>) -> Response<Body> {
        let Some(session) = session else {
            return if path.is_empty() { sign_in(StatusCode::OK, None) } else { to(ROOT) };
        };
        let shown = match path.strip_prefix("run/").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
            None if path.is_empty() => self.runs(&session, StatusCode::OK, None).await,
            Some((id, "")) => self.run(&session, id).await,
            Some((id, "events")) => self.events(&session, id).await,
            Some((id, "report.html")) => self.report(&session, id, Format::Html).await,
            Some((id, "report.json")) => self.report(&session, id, Format::Json).await,
            Some((id, "report.xml")) => self.report(&session, id, Format::Junit).await,
            None | Some(_) => Err(Refused::NoSuchRun),
        };
        shown.unwrap_or_else(|refused| refusal(&refused))
    }

    async fn act(&self, path: &str, session: Option<Session>, form: &Form, extensions: &Extensions) -> Response<Body> {
        if path == "sign-in" {
            return self.signed_in(form.get("key"), extensions);
        }
        let Some(session) = session else { return to(ROOT) };
        if !session.made(form.get("token")) {
            return told(StatusCode::FORBIDDEN, "The form is not of this session. Open the page again.");
        }
        if path == "sign-out" {
            return with_cookie(
                to(ROOT),
                &format!("{COOKIE_NAME}=; Path={ROOT}; Max-Age=0; HttpOnly; SameSite=Strict"),
            );
        }
        if path == "start" {
            let takes_all = !form.get("takes_all").is_empty();
            let started =
                self.certification.start(&session.partner, form.get("name"), form.get("cases"), takes_all).await;
            return match started {
                Ok(report) => to(&format!("{ROOT}run/{}", report.run.id)),
                Err(Refused::Invalid(violations)) => {
                    let shown = self.runs(&session, StatusCode::BAD_REQUEST, Some(&in_words(&violations))).await;
                    shown.unwrap_or_else(|refused| refusal(&refused))
                }
                Err(refused) => refusal(&refused),
            };
        }
        match path.strip_prefix("run/").and_then(|rest| rest.strip_suffix("/finish")) {
            Some(id) => match self.certification.finish(&session.partner, id).await {
                Ok(_) => to(&format!("{ROOT}run/{id}")),
                Err(refused) => refusal(&refused),
            },
            None => refusal(&Refused::NoSuchRun),
        }
    }

    fn signed_in(&self, key: &str, extensions: &Extensions) -> Response<Body> {
        let Some(partner) = self.callers.of_key(key.trim().as_bytes(), Scope::Certification, extensions) else {
            return sign_in(StatusCode::FORBIDDEN, Some("This key is not known here."));
        };
        let (session, life) = (self.sessions.begin(&partner.id), LIFE.as_secs());
        let cookie = format!("{COOKIE_NAME}={session}; Path={ROOT}; Max-Age={life}; HttpOnly; SameSite=Strict");
        with_cookie(to(ROOT), &cookie)
    }

    async fn runs(
        &self,
        session: &Session,
        status: StatusCode,
        wrong: Option<&str>,
    ) -> Result<Response<Body>, Refused> {
        let mut main = String::from("<h1>Certification</h1>\n");
        if let Some(wrong) = wrong {
            let _ = writeln!(main, "<p class=\"wrong\" role=\"alert\">{}</p>", escaped(wrong));
        }
        let _ = write!(
            main,
            "<p>Start a run, send your calls with the header <code>X-Certification-Run</code>, and watch the use cases \
             fill in.</p>\n<h2 id=\"start\">Start a run</h2>\n\
             <form class=\"card\" method=\"post\" action=\"{ROOT}start\" aria-labelledby=\"start\">\n{}\
             <label for=\"name\">Name</label><input id=\"name\" name=\"name\" type=\"text\" required maxlength=\"80\" \
             autocomplete=\"off\">\n\
             <label for=\"cases\">Use cases <span class=\"quiet\">(empty: all 28; else like 1-13,26)</span></label>\
             <input id=\"cases\" name=\"cases\" type=\"text\" pattern=\"[0-9, \\-]*\" autocomplete=\"off\">\n\
             <p><label class=\"inline\" for=\"all\"><input id=\"all\" name=\"takes_all\" type=\"checkbox\" value=\"yes\"> \
             Calls without the header belong to it too</label></p>\n<button type=\"submit\">Start</button>\n</form>\n",
            token(session),
        );
        let runs = self.certification.list(&session.partner).await?;
        main.push_str("<h2>Your runs</h2>\n");
        if runs.is_empty() {
            main.push_str("<p class=\"quiet\">None yet.</p>\n");
        } else {
            main.push_str(
                "<table><caption class=\"unseen\">Your runs, newest first</caption><thead><tr><th scope=\"col\">Name</th>\
                 <th scope=\"col\">Started</th><th scope=\"col\">State</th></tr></thead><tbody>\n",
            );
            for run in &runs {
                let _ = writeln!(
                    main,
                    "<tr><td><a href=\"{ROOT}run/{id}\">{}</a></td><td>{}</td><td>{}</td></tr>",
                    escaped(&run.name),
                    report::when(run.started_at),
                    report::state_word(run.state),
                    id = escaped(&run.id),
                );
            }
            main.push_str("</tbody></table>\n");
        }
        Ok(document(status, "Certification", Some(session), &main, ""))
    }

    async fn run(&self, session: &Session, id: &str) -> Result<Response<Body>, Refused> {
        let report = self.certification.get(&session.partner, id).await?;
        let (id, name) = (escaped(&report.run.id), escaped(&report.run.name));
        let is_open = report.run.state == RunState::Open;
        let mut main = format!("<p><a href=\"{ROOT}\">All runs</a></p>\n<h1>{name}</h1>\n");
        let verdict = report::result(&report);
        if is_open {
            let all = if report.run.takes_all { " Calls without it belong to this run too." } else { "" };
            let _ = write!(
                main,
                "<p>Send your calls with the header <code>X-Certification-Run: {id}</code>.{all}</p>\n\
                 <p id=\"live\" class=\"unseen\" role=\"status\" aria-live=\"polite\" data-events=\"{ROOT}run/{id}/events\">\
                 </p>\n"
            );
        } else {
            let _ = writeln!(main, "<p class=\"verdict\">This run is finished: <strong>{verdict}</strong>.</p>");
        }
        let _ = write!(main, "<div id=\"summary\">\n{}</div>\n{}", html::summary(&report), html::cases(&report));
        let (label, note) =
            if is_open { ("draft", " Finish the run to get a certificate.") } else { ("certificate", "") };
        let _ = write!(
            main,
            "<h2>Take the {label}</h2>\n<p>Signed by this gateway; <code>onbill certify verify FILE</code> checks it.{note}\
             </p>\n<ul class=\"downloads\"><li><a href=\"{ROOT}run/{id}/report.html\" download>HTML</a></li>\
             <li><a href=\"{ROOT}run/{id}/report.json\" download>JSON</a></li>\
             <li><a href=\"{ROOT}run/{id}/report.xml\" download>JUnit</a></li></ul>\n"
        );
        if is_open {
            let _ = writeln!(
                main,
                "<form method=\"post\" action=\"{ROOT}run/{id}/finish\">{}<button type=\"submit\">Finish the run</button>\
                 </form>",
                token(session),
            );
        }
        let script = if is_open { "<script src=\"/certification/live.js\" defer></script>\n" } else { "" };
        Ok(document(StatusCode::OK, &report.run.name, Some(session), &main, script))
    }

    async fn report(&self, session: &Session, id: &str, format: Format) -> Result<Response<Body>, Refused> {
        let report = self.certification.get(&session.partner, id).await?;
        let signed = report::signed(&report, format, self.certification.signer());
        let mut response = file(format.media_type(), &signed.content);
        if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{}\"", signed.file_name)) {
            response.headers_mut().insert(CONTENT_DISPOSITION, name);
        }
        Ok(response)
    }

    async fn events(&self, session: &Session, id: &str) -> Result<Response<Body>, Refused> {
        let permit = Arc::clone(&self.live).try_acquire_owned().map_err(|_full| Refused::TooMany)?;
        let watch = watch(Arc::clone(&self.certification), session.partner.clone(), id.to_owned()).await?;
        let events = futures_util::stream::unfold((watch, permit), next_event);
        let mut response = Response::new(Body::new(StreamBody::new(events)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(response)
    }
}

type Live = (Watch, OwnedSemaphorePermit);

/// The next event of a page, or a line that keeps the connection.
async fn next_event((mut watch, permit): Live) -> Option<(Result<http_body::Frame<Bytes>, Infallible>, Live)> {
    let text = match tokio::time::timeout(QUIET_MAX, watch.next()).await {
        Ok(Some(Ok(report))) => format!("event: run\ndata: {}\n\n", event(&report)),
        Ok(Some(Err(_)) | None) => return None,
        Err(_quiet) => ": still here\n\n".to_owned(),
    };
    Some((Ok(http_body::Frame::data(Bytes::from(text))), (watch, permit)))
}

fn event(report: &Report) -> serde_json::Value {
    let cases = report.cases.iter().map(|(known, judged)| {
        serde_json::json!({
            "case": known.case, "verdict": judged.verdict.word(), "class": html::class(judged.verdict),
            "more": html::more(report, known, judged),
        })
    });
    let state = report::state_word(report.run.state);
    serde_json::json!({"state": state, "summary": html::summary(report), "cases": cases.collect::<Vec<_>>()})
}

/// The fields of a form, as they came.
struct Form(Vec<(String, String)>);

impl Form {
    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// Reads `application/x-www-form-urlencoded`.
async fn form<B>(body: B) -> Option<Form>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = tokio::time::timeout(FORM_WAIT, std::pin::pin!(Limited::new(body, FORM_BYTES_MAX)).collect()).await;
    let bytes = read.ok()?.ok()?.to_bytes();
    let text = std::str::from_utf8(&bytes).ok()?;
    let decoded =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8().map(std::borrow::Cow::into_owned).ok();
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, decoded(value)?))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect::<Option<Vec<_>>>().map(Form)
}

/// Whether a form was sent by a page of this very host. Browsers say where a form comes from; what says nothing is no
/// browser, and has no session that it was not given.
fn same_site(headers: &HeaderMap, uri: &Uri) -> bool {
    let text = |name: &http::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let fetched = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    // HTTP/2, which browsers speak over TLS, has the host in the address.
    let host = text(&HOST).or_else(|| uri.authority().map(http::uri::Authority::as_str));
    let is_own_host = match (text(&ORIGIN), host) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        (Some(_), None) => false,
    };
    is_own_host && fetched.is_none_or(|site| site == "same-origin" || site == "none")
}

fn in_words(violations: &[Violation]) -> String {
    let name = |name: &str| match name {
        field::NAME => "Name".to_owned(),
        field::CASES => "Use cases".to_owned(),
        field::TAKES_ALL => "Calls without the header".to_owned(),
        other => other.to_owned(),
    };
    let said = violations.iter().map(|found| format!("{}: {}", name(&found.field), found.reason));
    said.collect::<Vec<_>>().join("; ")
}

fn token(session: &Session) -> String {
    format!("<input type=\"hidden\" name=\"token\" value=\"{}\">", escaped(&session.form_token))
}

fn sign_in(status: StatusCode, wrong: Option<&str>) -> Response<Body> {
    let wrong =
        wrong.map(|text| format!("<p class=\"wrong\" role=\"alert\">{}</p>\n", escaped(text))).unwrap_or_default();
    let main = format!(
        "<h1>Certification of an OTT</h1>\n{wrong}<p>The gateway watches the calls that you make in this sandbox and says \
         which of the 28 use cases they show.</p>\n<form class=\"card\" method=\"post\" action=\"{ROOT}sign-in\">\n\
         <label for=\"key\">API key</label><input id=\"key\" name=\"key\" type=\"password\" required \
         autocomplete=\"current-password\">\n<button type=\"submit\">Sign in</button>\n</form>\n"
    );
    document(status, "Sign in", None, &main, "")
}

fn document(status: StatusCode, title: &str, session: Option<&Session>, main: &str, script: &str) -> Response<Body> {
    let account = session.map(|session| {
        format!(
            "<form method=\"post\" action=\"{ROOT}sign-out\">{}<button type=\"submit\">Sign out {}</button></form>",
            token(session),
            escaped(session.partner.as_str()),
        )
    });
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{} – onbill</title>\n\
         <link rel=\"stylesheet\" href=\"/certification/style.css\">\n<link rel=\"icon\" href=\"data:,\">\n{script}</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">To the content</a>\n\
         <header class=\"top\"><p><b>onbill</b> sandbox</p>{}</header>\n<main id=\"main\">\n{main}</main>\n</body>\n</html>\n",
        escaped(title),
        account.unwrap_or_default(),
    );
    let mut response = file(HTML, &page);
    *response.status_mut() = status;
    response
}

fn refusal(refused: &Refused) -> Response<Body> {
    match refused {
        Refused::NoSuchRun => told(StatusCode::NOT_FOUND, "There is no such run."),
        Refused::Invalid(violations) => told(StatusCode::BAD_REQUEST, &in_words(violations)),
        Refused::TooMany => told(StatusCode::TOO_MANY_REQUESTS, "Too much of this is open already. Try again later."),
        Refused::Stopped(_) => told(StatusCode::SERVICE_UNAVAILABLE, "This cannot be shown now. Try again."),
    }
}

fn told(status: StatusCode, text: &str) -> Response<Body> {
    let main = format!("<h1>{}</h1>\n<p><a href=\"{ROOT}\">Certification</a></p>\n", escaped(text));
    document(status, text, None, &main, "")
}

fn file(media_type: &'static str, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::copy_from_slice(text.as_bytes()))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn to(place: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

fn with_cookie(mut response: Response<Body>, cookie: &str) -> Response<Body> {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

//! The wire: signatures and forms come in, pages and errors go out as XML, or as `kms` has it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use super::faults::Effect;
use super::{Action, kms};
use crate::support::cloud::{InstanceId, REGION};
use crate::support::http::{Answer, Request};

/// Which part of a list was asked for.
pub struct PageRequest {
    start: usize,
    size: usize,
    endless: bool,
}

pub struct Page {
    pub entries: Vec<String>,
    next: Option<usize>,
}

impl PageRequest {
    pub fn cut(&self, all: Vec<String>) -> Page {
        let rest = all.len().saturating_sub(self.start);
        // An endless list begins again at its end and always promises more.
        let start = if rest == 0 && self.endless { 0 } else { self.start };
        let more = all.len() > start + self.size || self.endless;
        Page { next: more.then_some(start + self.size), entries: all.into_iter().skip(start).take(self.size).collect() }
    }
}

impl Page {
    pub fn next_token(&self, name: &str) -> String {
        self.next.map(|next| text(name, format!("{TOKEN}{next}"))).unwrap_or_default()
    }
}

const TOKEN: &str = "token/+=&<";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    AutoScaling,
    Ec2,
    Kms,
}

/// Who signed a call, for which service. The signature itself is not verified.
pub struct Signature {
    pub caller: InstanceId,
    pub service: Service,
}

impl Signature {
    pub fn read(request: &Request) -> Result<Self, Refusal> {
        let missing = || Service::AutoScaling.missing_token();
        let authorization = request.header("authorization").ok_or_else(missing)?;
        let scope = authorization
            .strip_prefix("AWS4-HMAC-SHA256 Credential=")
            .and_then(|rest| rest.split(',').next())
            .ok_or_else(missing)?;
        let [key, _date, region, service, "aws4_request"] = scope.split('/').collect::<Vec<_>>()[..] else {
            return Err(missing());
        };
        let service = match service {
            "autoscaling" => Service::AutoScaling,
            "ec2" => Service::Ec2,
            "kms" => Service::Kms,
            _ => return Err(missing()),
        };
        // Only a key that lasts does without ("Unique identifiers", IAM user guide, read 2026-11-27).
        let lasts = !key.starts_with(ACCESS_KEY_PREFIX);
        if region != REGION || (request.header("x-amz-security-token").is_none() && !lasts) {
            return Err(service.missing_token());
        }
        Ok(Self { caller: instance_of_access_key(key), service })
    }
}

const ACCESS_KEY_PREFIX: &str = "ASIA";

/// The access key that the metadata service gives to an instance: it tells whose it is.
pub fn access_key_of(instance: &str) -> String {
    ACCESS_KEY_PREFIX.to_owned() + &instance.trim_start_matches("i-").to_uppercase()
}

fn instance_of_access_key(key: &str) -> InstanceId {
    format!("i-{}", key.trim_start_matches(ACCESS_KEY_PREFIX).to_lowercase())
}

/// The parameters of a call. What nobody takes is unknown to this action, and refused.
pub struct Form {
    pub service: Service,
    pub fields: BTreeMap<String, String>,
}

impl Form {
    pub fn read(request: &Request, service: Service) -> Result<Self, Refusal> {
        if request.method != "POST" {
            return Err(service.mistake("InvalidAction", format!("method {}", request.method)));
        }
        let version = match service {
            Service::AutoScaling => "2011-01-01",
            Service::Ec2 => "2016-11-15",
            Service::Kms => return Ok(Self { service, fields: kms::read_fields(request)? }),
        };
        let fields = url::form_urlencoded::parse(&request.body).into_owned().collect();
        let mut form = Self { service, fields };
        match form.take("Version") {
            Some(sent) if sent == version => Ok(form),
            sent => Err(service.mistake("NoSuchVersion", format!("version {sent:?}"))),
        }
    }

    pub fn take(&mut self, name: &str) -> Option<String> {
        self.fields.remove(name)
    }

    /// The values of `name.1`, `name.2`, ….
    pub fn take_list(&mut self, name: &str) -> Vec<String> {
        (1..).map_while(|number| self.take(&format!("{name}.{number}"))).collect()
    }

    pub fn take_page(&mut self, size_field: &str, most: usize, effect: &Effect) -> Result<PageRequest, Refusal> {
        let size = match self.take(size_field) {
            None => most,
            Some(size) => size
                .parse()
                .ok()
                .filter(|size| (1..=most.max(100)).contains(size))
                .ok_or_else(|| self.service.mistake("ValidationError", format!("{size_field}={size}")))?,
        };
        let start = match self.take("NextToken") {
            None => 0,
            Some(token) => token
                .strip_prefix(TOKEN)
                .and_then(|start| start.parse().ok())
                .ok_or_else(|| self.service.mistake("InvalidNextToken", token.clone()))?,
        };
        Ok(PageRequest { start, size: effect.page.map_or(size, |page| page.min(size)), endless: effect.endless })
    }

    pub fn finish(self) -> Result<(), Refusal> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(unknown) => Err(self.service.mistake("UnknownParameter", format!("parameter '{unknown}'"))),
        }
    }
}

/// An error as AWS gives it.
#[derive(Debug)]
pub struct Refusal {
    pub service: Service,
    pub status: u16,
    pub code: String,
    pub message: String,
    pub is_the_callers_mistake: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.service, self.code, self.message)
    }
}

impl Service {
    pub fn refusal(self, status: u16, code: &str, message: impl Into<String>) -> Refusal {
        Refusal { service: self, status, code: code.to_owned(), message: message.into(), is_the_callers_mistake: false }
    }

    pub fn mistake(self, code: &str, message: impl Into<String>) -> Refusal {
        Refusal { is_the_callers_mistake: true, ..self.refusal(400, code, message) }
    }

    fn missing_token(self) -> Refusal {
        Refusal {
            status: 403,
            ..self.mistake(
                "MissingAuthenticationToken",
                "Missing Authentication Token, or a signature for another service or region",
            )
        }
    }

    pub fn render_result(self, action: Action, body: &str) -> String {
        let name = action.name();
        let parts = match self {
            Self::AutoScaling => [
                element(&format!("{name}Result"), &[body]),
                element("ResponseMetadata", &[text("RequestId", REQUEST_ID)]),
            ],
            Self::Ec2 => [text("requestId", REQUEST_ID), body.to_owned()],
            Self::Kms => return body.to_owned(),
        };
        element(&format!("{name}Response"), &parts)
    }

    pub fn reply(self, status: u16, body: String) -> Answer {
        match self {
            Self::AutoScaling | Self::Ec2 => xml(status, body),
            Self::Kms => kms::reply(status, body),
        }
    }
}

impl Refusal {
    pub fn render(&self) -> Answer {
        let error = [text("Code", &self.code), text("Message", &self.message)];
        let error = element("Error", &error);
        let body = match self.service {
            Service::AutoScaling => element("ErrorResponse", &[error, text("RequestId", REQUEST_ID)]),
            Service::Ec2 => element("Response", &[element("Errors", &[error]), text("RequestID", REQUEST_ID)]),
            Service::Kms => kms::render_error(&self.code, &self.message).to_string(),
        };
        self.service.reply(self.status, body)
    }
}

pub const REQUEST_ID: &str = "7a62c49f-347e-4fc4-9331-6e8eEXAMPLE";

pub fn xml(status: u16, body: String) -> Answer {
    Answer::Reply { status, content_type: "text/xml", headers: Vec::new(), body: body.into() }
}

pub fn element(name: &str, children: &[impl AsRef<str>]) -> String {
    let children: String = children.iter().map(AsRef::as_ref).collect();
    format!("<{name}>{children}</{name}>")
}

pub fn text(name: &str, value: impl ToString) -> String {
    let value = value.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<{name}>{value}</{name}>")
}

pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

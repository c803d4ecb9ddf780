//! The routes of the JSON face, compiled at start from the `google.api.http` annotations.
//!
//! Invariant: every annotation of a service that exists becomes a route, or stops the start with a text that names it;
//! no two routes have the same method and path. Supported are one variable a segment (`{field}`), any method, `body`
//! and `additional_bindings`; wildcards, verbs after a colon, paths into nested fields and `response_body` are not
//! (google/api/http.proto).

use std::collections::HashMap;

use foldhash::fast::RandomState;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Uri};
use prost_reflect::{DescriptorPool, ExtensionDescriptor, MethodDescriptor};

use super::JsonFaceError;
use super::schema::{Builder, Kind, Message, MessageId, Shape};
use crate::faces::pb::google::api::{HttpRule, http_rule};
use crate::faces::pb::v1::MethodRule;

/// Where the description of the face itself is served.
pub(super) const OPENAPI_PATH: &str = "/openapi.json";

/// One method and path of one RPC.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) method: Method,
    /// As in the annotation, but with the JSON names of the variables: `/transaction/{extTransactionId}`.
    pub(super) path_text: String,
    segments: Vec<Segment>,
    /// The field of each variable, in the order of the path.
    pub(super) path: Vec<usize>,
    pub(super) body: BodyRule,
    /// By field: may it come as a query parameter?
    query: Vec<bool>,
    /// The RPC, as the in-process request names it.
    pub(super) uri: Uri,
    pub(super) input: MessageId,
    pub(super) output: MessageId,
    pub(super) success: StatusCode,
    pub(super) descriptor: MethodDescriptor,
    pub(super) rule: MethodRule,
}

impl Binding {
    /// May this field come as a query parameter?
    pub(super) fn in_query(&self, index: usize) -> bool {
        self.query.get(index).copied().unwrap_or(false)
    }

    /// May this field come in the JSON body, where the body is the whole message?
    pub(super) fn in_body(&self, index: usize) -> bool {
        !self.path.contains(&index)
    }

    /// The raw text of each variable of a path that fits.
    pub(super) fn variables<'p>(&self, path: &'p str) -> Vec<&'p str> {
        if self.path.is_empty() { Vec::new() } else { variables(&self.segments, path).unwrap_or_default() }
    }

    /// Does its success have a body?
    pub(super) fn answers_body(&self) -> bool {
        self.success != StatusCode::CREATED && self.success != StatusCode::NO_CONTENT
    }
}

/// What the body of a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyRule {
    /// Nothing: it is not read.
    None,
    /// Every field that is not in the path.
    Whole,
    /// This one field, which is a message; the others are query parameters.
    Field(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Variable,
}

/// All methods of one path.
#[derive(Debug, Default)]
struct Resource {
    /// Indices of bindings.
    methods: Vec<(Method, usize)>,
}

/// All routes.
#[derive(Debug)]
pub(super) struct Routes {
    bindings: Vec<Binding>,
    literal: HashMap<String, (Resource, HeaderValue), RandomState>,
    variable: Vec<(Vec<Segment>, Resource, HeaderValue)>,
}

/// What a method and path lead to.
#[derive(Debug)]
pub(super) enum Found<'r> {
    /// An RPC: its place among the bindings, and the binding.
    Rpc(usize, &'r Binding),
    /// The description of the face.
    OpenApi,
    /// The path has these methods only.
    WrongMethod(HeaderValue),
    /// No such path.
    Nothing,
}

impl Routes {
    /// All bindings, in the order of the protos.
    pub(super) fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// Compiles the routes of these services, and the messages that they need.
    pub(super) fn compile(
        pool: &DescriptorPool,
        services: &[&str],
        schema: &mut Builder,
    ) -> Result<Self, JsonFaceError> {
        let annotation = pool.get_extension_by_name("google.api.http").ok_or(JsonFaceError::NoAnnotations)?;
        let option = pool.get_extension_by_name("onbill.v1.method");
        let mut bindings = Vec::new();
        for name in services {
            let service =
                pool.get_service_by_name(name).ok_or_else(|| JsonFaceError::UnknownService((*name).to_owned()))?;
            for method in service.methods() {
                for rule in http_rules(&method, &annotation)? {
                    bindings.push(compile_binding(&method, &rule, option.as_ref(), schema)?);
                }
            }
        }
        Self::index(bindings)
    }

    fn index(bindings: Vec<Binding>) -> Result<Self, JsonFaceError> {
        let mut resources: Vec<(Vec<Segment>, Resource)> = Vec::new();
        for (index, binding) in bindings.iter().enumerate() {
            let known = resources.iter_mut().find(|(segments, _)| *segments == binding.segments);
            let entry = (binding.method.clone(), index);
            match known {
                Some((_, resource)) if resource.methods.iter().any(|(method, _)| *method == binding.method) => {
                    return Err(binding_error(&binding.descriptor, "another RPC has the same method and path"));
                }
                Some((_, resource)) => resource.methods.push(entry),
                None => resources.push((binding.segments.clone(), Resource { methods: vec![entry] })),
            }
        }
        let mut literal = HashMap::with_hasher(RandomState::default());
        let mut variable = Vec::new();
        for (segments, resource) in resources {
            let allow = resource.methods.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>().join(", ");
            let allow = HeaderValue::try_from(allow).map_err(|_| JsonFaceError::NoAnnotations)?;
            match literal_path(&segments) {
                Some(path) => {
                    literal.insert(path, (resource, allow));
                }
                None => variable.push((segments, resource, allow)),
            }
        }
        Ok(Self { bindings, literal, variable })
    }

    /// Finds the route of a request. A path without variables comes before one with.
    pub(super) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        if path == OPENAPI_PATH {
            let is_get = method == Method::GET;
            return if is_get { Found::OpenApi } else { Found::WrongMethod(HeaderValue::from_static("GET")) };
        }
        if let Some((resource, allow)) = self.literal.get(path) {
            return self.in_resource(resource, allow, method);
        }
        for (segments, resource, allow) in &self.variable {
            if variables(segments, path).is_some() {
                return self.in_resource(resource, allow, method);
            }
        }
        Found::Nothing
    }

    fn in_resource(&self, resource: &Resource, allow: &HeaderValue, method: &Method) -> Found<'_> {
        let known = resource.methods.iter().find(|(known, _)| known == method);
        match known.and_then(|(_, index)| Some((*index, self.bindings.get(*index)?))) {
            Some((index, binding)) => Found::Rpc(index, binding),
            None => Found::WrongMethod(allow.clone()),
        }
    }
}

fn literal_path(segments: &[Segment]) -> Option<String> {
    let mut path = String::new();
    for segment in segments {
        match segment {
            Segment::Literal(text) => {
                path.push('/');
                path.push_str(text);
            }
            Segment::Variable => return None,
        }
    }
    Some(path)
}

/// The raw text of each variable, where the path fits. An empty segment fits nothing.
fn variables<'p>(segments: &[Segment], path: &'p str) -> Option<Vec<&'p str>> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let mut variables = Vec::with_capacity(1);
    for segment in segments {
        let part = parts.next()?;
        match segment {
            Segment::Literal(text) if text == part => {}
            Segment::Variable if !part.is_empty() => variables.push(part),
            Segment::Literal(_) | Segment::Variable => return None,
        }
    }
    parts.next().is_none().then_some(variables)
}

/// The annotation of a method and its additional ones.
fn http_rules(method: &MethodDescriptor, annotation: &ExtensionDescriptor) -> Result<Vec<HttpRule>, JsonFaceError> {
    let options = method.options();
    if !options.has_extension(annotation) {
        return Ok(Vec::new());
    }
    if method.is_client_streaming() || method.is_server_streaming() {
        return Err(binding_error(method, "a stream has no JSON form here"));
    }
    let value = options.get_extension(annotation);
    let first: HttpRule = match value.as_message() {
        Some(message) => message.transcode_to().map_err(|source| option_error(method, source.into()))?,
        None => HttpRule::default(),
    };
    let mut rules = vec![first];
    let additional = rules.first_mut().map(|rule| std::mem::take(&mut rule.additional_bindings)).unwrap_or_default();
    rules.extend(additional);
    Ok(rules)
}

fn compile_binding(
    descriptor: &MethodDescriptor,
    rule: &HttpRule,
    option: Option<&ExtensionDescriptor>,
    schema: &mut Builder,
) -> Result<Binding, JsonFaceError> {
    let (method, template) = method_and_path(descriptor, rule)?;
    if !rule.response_body.is_empty() {
        return Err(binding_error(descriptor, "response_body is not supported"));
    }
    let input = schema.compile(&descriptor.input())?;
    let output = schema.compile(&descriptor.output())?;
    let message = schema.message(input);
    let (segments, path, path_text) = compile_template(descriptor, message, template)?;
    let body = match rule.body.as_str() {
        "" => BodyRule::None,
        "*" => BodyRule::Whole,
        name => BodyRule::Field(body_field(descriptor, message, name)?),
    };
    let query = message.fields.iter().enumerate().map(|(index, field)| {
        let fits = !matches!(field.kind, Kind::Message(_)) && !matches!(field.shape, Shape::Map(_));
        fits && body != BodyRule::Whole && body != BodyRule::Field(index) && !path.contains(&index)
    });
    let query = query.collect();
    let rule = method_rule(descriptor, option)?;
    let success = match rule.success_status {
        0 => Ok(StatusCode::OK),
        status => u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok()).ok_or(()),
    };
    let success = success.ok().filter(StatusCode::is_success);
    let success = success.ok_or_else(|| binding_error(descriptor, "success_status is no 2xx status"))?;
    let uri = format!("/{}/{}", descriptor.parent_service().full_name(), descriptor.name());
    let uri = PathAndQuery::try_from(uri).map_err(|_| binding_error(descriptor, "its name is no path"))?;
    Ok(Binding {
        method,
        path_text,
        segments,
        path,
        body,
        query,
        uri: Uri::from(uri),
        input,
        output,
        success,
        descriptor: descriptor.clone(),
        rule,
    })
}

fn method_and_path<'r>(descriptor: &MethodDescriptor, rule: &'r HttpRule) -> Result<(Method, &'r str), JsonFaceError> {
    Ok(match &rule.pattern {
        Some(http_rule::Pattern::Get(path)) => (Method::GET, path),
        Some(http_rule::Pattern::Put(path)) => (Method::PUT, path),
        Some(http_rule::Pattern::Post(path)) => (Method::POST, path),
        Some(http_rule::Pattern::Delete(path)) => (Method::DELETE, path),
        Some(http_rule::Pattern::Patch(path)) => (Method::PATCH, path),
        Some(http_rule::Pattern::Custom(custom)) => {
            let method = Method::from_bytes(custom.kind.as_bytes()).ok().filter(|method| method.as_str() != "*");
            (method.ok_or_else(|| binding_error(descriptor, "its kind is no method"))?, &custom.path)
        }
        None => return Err(binding_error(descriptor, "it has no path")),
    })
}

type Template = (Vec<Segment>, Vec<usize>, String);

fn compile_template(
    descriptor: &MethodDescriptor,
    message: &Message,
    template: &str,
) -> Result<Template, JsonFaceError> {
    let rest = template.strip_prefix('/').ok_or_else(|| binding_error(descriptor, "its path has no leading slash"))?;
    let (mut segments, mut path, mut path_text) = (Vec::new(), Vec::new(), String::new());
    for part in rest.split('/') {
        path_text.push('/');
        if let Some(variable) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            let name = variable.strip_suffix("=*").unwrap_or(variable);
            let index = index_of_proto_name(descriptor, message, name);
            let field = index.and_then(|index| message.fields.get(index).map(|field| (index, field)));
            let (index, field) =
                field.ok_or_else(|| binding_error(descriptor, "its path names no field of the request"))?;
            if field.shape != Shape::Single || matches!(field.kind, Kind::Message(_)) || path.contains(&index) {
                return Err(binding_error(descriptor, "a variable of its path is no single value"));
            }
            path.push(index);
            path_text.extend(["{", field.name.as_str(), "}"]);
            segments.push(Segment::Variable);
        } else if part.is_empty() || part.contains(['{', '}', '*', ':', '%', '?', '#']) {
            return Err(binding_error(descriptor, "its path has a form that is not supported"));
        } else {
            path_text.push_str(part);
            segments.push(Segment::Literal(part.to_owned()));
        }
    }
    if path_text == OPENAPI_PATH {
        return Err(binding_error(descriptor, "its path is that of the description"));
    }
    Ok((segments, path, path_text))
}

fn body_field(descriptor: &MethodDescriptor, message: &Message, name: &str) -> Result<usize, JsonFaceError> {
    let index = index_of_proto_name(descriptor, message, name);
    let is_message = |index: &usize| {
        let field = message.fields.get(*index);
        field.is_some_and(|field| field.shape == Shape::Single && matches!(field.kind, Kind::Message(_)))
    };
    index.filter(is_message).ok_or_else(|| binding_error(descriptor, "its body names no message of the request"))
}

fn index_of_proto_name(descriptor: &MethodDescriptor, message: &Message, name: &str) -> Option<usize> {
    message.index_of_number(descriptor.input().get_field_by_name(name)?.number())
}

fn method_rule(
    descriptor: &MethodDescriptor,
    option: Option<&ExtensionDescriptor>,
) -> Result<MethodRule, JsonFaceError> {
    let Some(option) = option else { return Ok(MethodRule::default()) };
    match descriptor.options().get_extension(option).as_message() {
        Some(rule) => rule.transcode_to().map_err(|source| option_error(descriptor, source.into())),
        None => Ok(MethodRule::default()),
    }
}

fn binding_error(descriptor: &MethodDescriptor, why: &'static str) -> JsonFaceError {
    JsonFaceError::Binding { rpc: descriptor.full_name().to_owned(), why }
}

fn option_error(descriptor: &MethodDescriptor, source: Box<prost::DecodeError>) -> JsonFaceError {
    JsonFaceError::Option { place: descriptor.full_name().to_owned(), source }
}

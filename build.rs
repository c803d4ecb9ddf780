//! Compiles the protos without protoc.
//!
//! Invariant: one descriptor set serves the generated code, reflection, the JSON face and OpenAPI, so that they cannot
//! disagree. It keeps the comments (OpenAPI prints them) and the options (the JSON routes come from them). What CSPs
//! serve is a package of its own, compiled as any CSP would compile it: it is no part of the partners' API.

use std::fmt::Write as _;
use std::path::PathBuf;

use prost::Message as _;

/// Where the API lies below `proto/`. Every file in it is compiled: a new noun needs no edit here.
const API: &str = "onbill/v1";
/// What a CSP's adapter process serves.
const CSP: &str = "onbill/csp/v1/csp.proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut protos = Vec::new();
    for entry in std::fs::read_dir(PathBuf::from("proto").join(API))? {
        protos.push(format!("{API}/{}", entry?.file_name().to_string_lossy()));
    }
    protos.sort();
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(protos)?;
    // Encoded, not as a value: only the encoded form keeps options that prost does not know.
    let encoded = compiler.encode_file_descriptor_set();
    std::fs::write(out.join("onbill.binpb"), &encoded)?;
    let descriptors = prost_types::FileDescriptorSet::decode(encoded.as_slice())?;
    std::fs::write(out.join("direct.rs"), direct(&descriptors))?;
    tonic_prost_build::configure()
        .codec_path("crate::faces::grpc::codec::ContractCodec")
        .bytes(".")
        .include_file("pb.rs")
        .compile_fds(descriptors)?;
    let csp = protox::compile([CSP], ["proto"])?;
    std::fs::write(out.join("csp.binpb"), csp.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(csp)?;
    Ok(())
}

/// For each service of the API, which of its methods are called directly, and by which path: all that answer once.
fn direct(descriptors: &prost_types::FileDescriptorSet) -> String {
    let ours = descriptors.file.iter().filter(|file| file.package().starts_with("onbill."));
    let services = ours.flat_map(|file| file.service.iter().map(|service| (file.package(), service)));
    let mut code = String::new();
    for (package, service) in services {
        let (name, module) = (service.name(), snake(service.name()));
        // Writing to a text cannot fail.
        let _ = writeln!(
            code,
            "pub(super) fn {module}<S: crate::faces::pb::v1::{module}_server::{name}>(service: &Arc<S>) -> Calls {{\n    vec!["
        );
        let once =
            |method: &&prost_types::MethodDescriptorProto| !method.client_streaming() && !method.server_streaming();
        for method in service.method.iter().filter(once) {
            let (path, function) = (format!("/{package}.{name}/{}", method.name()), snake(method.name()));
            let _ = writeln!(
                code,
                "        (\"{path}\", unary(service, |service: Arc<S>, request| async move {{ service.{function}(request).await }})),"
            );
        }
        code.push_str("    ]\n}\n");
    }
    code
}

/// A name in the form of Rust's functions and modules.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

//! The comments of the protos, as text.
//!
//! Invariant: a comment is the text that leads its element, its lines joined by spaces; the element without one has an
//! empty text. An example at the end of a comment is left out where the options carry it as a value.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, FileDescriptor};

/// All comments of a descriptor set.
#[derive(Debug)]
pub(super) struct Comments(HashMap<(String, Vec<i32>), String>);

impl Comments {
    /// Collects them.
    pub(super) fn of(pool: &DescriptorPool) -> Self {
        let mut comments = HashMap::new();
        for file in pool.files() {
            let info = file.file_descriptor_proto().source_code_info.as_ref();
            for location in info.map(|info| info.location.as_slice()).unwrap_or_default() {
                if let Some(comment) = &location.leading_comments {
                    let text = comment.lines().map(str::trim).collect::<Vec<_>>().join(" ");
                    comments.insert((file.name().to_owned(), location.path.clone()), text.trim().to_owned());
                }
            }
        }
        Self(comments)
    }

    /// The comment of the element with this path in this file (google/protobuf/descriptor.proto, SourceCodeInfo).
    pub(super) fn of_path(&self, file: &FileDescriptor, path: &[i32]) -> String {
        self.0.get(&(file.name().to_owned(), path.to_vec())).cloned().unwrap_or_default()
    }

    /// The same without the example at its end.
    pub(super) fn without_example(&self, file: &FileDescriptor, path: &[i32]) -> String {
        let text = self.of_path(file, path);
        match text.rsplit_once(" Example: ") {
            Some((before, _)) => before.to_owned(),
            None => text,
        }
    }
}

//! Files that a server takes in parts: those above 5 GB on Hugging Face.
//!
//! Its answer to the announcement of such a file has among the headers of the upload the size of a part,
//! `chunk_size`, and the address of every part under its number; `href` is where the ETags of all parts
//! go when they are there.

use serde_json::{Value, json};
use ureq::http::Method;

use crate::hub::client::{Call, Content};
use crate::hub::error::HubError;
use crate::hub::push::{Local, lfs_call};
use crate::hub::{Hub, Progress};

/// How a file is divided, and where its parts go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Bytes of each but the last.
    size: u64,
    addresses: Vec<String>,
}

impl Parts {
    /// What the headers of an upload say about a file of this many bytes; none if it goes in one piece.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub(super) fn of(header: &Value, bytes: u64) -> Result<Option<Self>, String> {
        let Some(size) = header.get("chunk_size") else { return Ok(None) };
        let number = size.as_u64().or_else(|| size.as_str().and_then(|size| size.parse().ok()));
        let size = number.filter(|size| *size > 0).ok_or_else(|| format!("a chunk_size of {size}"))?;
        let count = bytes.div_ceil(size);
        let mut numbered: Vec<(u64, &Value)> = (header.as_object().into_iter().flatten())
            .filter_map(|(name, address)| Some((name.parse().ok()?, address)))
            .collect();
        numbered.sort_by_key(|(number, _)| *number);
        if !numbered.iter().map(|(number, _)| *number).eq(1..=count) {
            return Err(format!("not the addresses of the parts 1 to {count}"));
        }
        let addresses = numbered.iter().map(|(_, address)| address.as_str().map(str::to_owned));
        let addresses = addresses.collect::<Option<_>>().ok_or("an address that is no text")?;
        Ok(Some(Self { size, addresses }))
    }
}

impl Hub {
    /// Sends the parts of a file in order, and says that they are all.
    pub(super) fn upload_parts(
        &self,
        file: &Local,
        parts: &Parts,
        completion: &str,
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        let mut sent = Vec::new();
        for (number, address) in (1..).zip(&parts.addresses) {
            let from = (number - 1) * parts.size;
            let content = Content::File {
                path: &file.path,
                name: &file.name,
                range: from..file.bytes.min(from + parts.size),
                total: file.bytes,
                progress,
            };
            let action = format!("upload part {number} of {} of {}", parts.addresses.len(), file.name);
            let url = address.clone();
            let put = Call { method: Method::PUT, url, content, ..Call::get(String::new()) };
            let response = self.client.send(&action, &put)?;
            let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok());
            let etag = etag.filter(|etag| !etag.is_empty());
            let etag = etag.ok_or_else(|| self.client.strange(&action, "no ETag"))?;
            sent.push(json!({ "partNumber": number, "etag": etag }));
        }
        let mut call = lfs_call(completion.to_owned(), &json!({ "oid": file.oid, "parts": sent }));
        // The storage puts gigabytes together first.
        call.answers_late = true;
        self.client.send(&format!("complete the upload of {}", file.name), &call).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_in_the_order_of_their_numbers() {
        let mut header = json!({ "chunk_size": "10" });
        (1..=12).for_each(|number| header[number.to_string()] = json!(format!("http://s/{number}")));
        let addresses: Vec<_> = (1..=12).map(|number| format!("http://s/{number}")).collect();
        assert_eq!(Parts::of(&header, 111), Ok(Some(Parts { size: 10, addresses: addresses.clone() })));
        assert_eq!(Parts::of(&header, 120), Ok(Some(Parts { size: 10, addresses })));
        assert_eq!(Parts::of(&json!({ "x-signature": "abc" }), 120), Ok(None));
        assert_eq!(Parts::of(&Value::Null, 120), Ok(None));
    }

    #[test]
    fn answers_that_divide_a_file_wrongly_are_refused() {
        for (header, bytes, part) in [
            (json!({ "chunk_size": "10", "1": "http://s/1" }), 11, "parts 1 to 2"),
            (json!({ "chunk_size": "10", "1": "http://s/1", "2": "http://s/2" }), 10, "parts 1 to 1"),
            (json!({ "chunk_size": "10", "1": "http://s/1", "3": "http://s/3" }), 20, "parts 1 to 2"),
            (json!({ "chunk_size": "10", "01": "http://s/1", "1": "http://s/1" }), 20, "parts 1 to 2"),
            (json!({ "chunk_size": 10, "1": 7 }), 10, "no text"),
            (json!({ "chunk_size": "0", "1": "http://s/1" }), 10, "chunk_size of \"0\""),
            (json!({ "chunk_size": "many", "1": "http://s/1" }), 10, "chunk_size of \"many\""),
            (json!({ "chunk_size": -1, "1": "http://s/1" }), 10, "chunk_size of -1"),
        ] {
            let error = Parts::of(&header, bytes).unwrap_err();
            assert!(error.contains(part), "{header}: {error}");
        }
    }
}

//! What is compressed: names of encodings, and answers for which it is worth the work (RFC 9110, section 8.4).

use ::http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version, header};

/// Names of encodings mean the same in any case, and `x-gzip` is gzip (RFC 9110, section 8.4.1); the layer below knows one spelling.
pub(super) fn plain(mut request: axum::extract::Request) -> axum::extract::Request {
    if let Some(encoding) = request.headers_mut().get_mut(header::CONTENT_ENCODING) {
        let name = encoding.as_bytes().trim_ascii();
        if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            *encoding = HeaderValue::from_static("gzip");
        }
    }
    request
}

/// Whether an answer becomes shorter: images, sound, films and archives, which a Binary may be, are compressed in themselves.
pub(super) fn is_loose(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.map_or(&b""[..], HeaderValue::as_bytes);
    let dense: [&[u8]; 6] = [
        b"image/",
        b"audio/",
        b"video/",
        b"application/zip",
        b"application/gzip",
        b"application/pdf",
    ];
    !dense.iter().any(|dense| content_type.starts_with(dense))
        || content_type.starts_with(b"image/svg")
}

/// A shorter answer fits one packet anyway.
pub(super) const COMPRESS_ABOVE_BYTES: u16 = 1024;

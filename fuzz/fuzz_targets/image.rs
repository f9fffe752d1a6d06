//! Image references: what is accepted is a reference in its full spelling, too, with any tag and digest.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullpass_domain::image::ImageRef;
use pullpass_fuzz::bounded;

fuzz_target!(|text: &str| bounded(text.as_bytes(), || {
    let Ok(image) = ImageRef::parse(text) else { return };
    let full = image.to_string();
    assert_eq!(full, format!("{}/{}", image.host(), image.path()));
    assert!(!image.host().is_empty() && !image.path().is_empty() && full.is_ascii());
    let digest = format!("sha256:{}", "a".repeat(64));
    for spelling in
        [full.clone(), format!("{full}:1"), format!("{full}@{digest}"), format!("{full}:1@{digest}")]
    {
        assert_eq!(ImageRef::parse(&spelling).as_ref(), Ok(&image), "{spelling}");
    }
}));

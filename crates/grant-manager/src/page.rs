//! Paging: tokens are opaque to callers and say after which item to go on.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use pullpass_api::convert;

const DEFAULT: u32 = 100;
const MOST: u32 = 1000;

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page<T> {
    pub(crate) size: u32,
    /// The last item of the page before.
    pub(crate) after: T,
}

impl<T> Page<T> {
    /// `parse` reads what was given to [`token`]; an empty token means `first`.
    pub(crate) fn parse(
        size: i32,
        token: &str,
        first: T,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Self, convert::Error> {
        let size = match u32::try_from(size) {
            Err(_) => return Err(convert::Error::new("page_size", "must not be negative")),
            Ok(0) => DEFAULT,
            Ok(size) => size.min(MOST),
        };
        let decode = || parse(std::str::from_utf8(&BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?);
        let after = match token {
            "" => Some(first),
            _ => decode(),
        };
        let after = after.ok_or_else(|| {
            convert::Error::new(
                "page_token",
                "is not a `next_page_token` of this call: begin again without one",
            )
        })?;
        Ok(Self { size, after })
    }

    /// Cuts `items`, of which one more than [`Self::size`] was asked for, and gives the token of the next page.
    pub(crate) fn cut<I>(&self, items: &mut Vec<I>, key: impl Fn(&I) -> String) -> String {
        let size = self.size as usize;
        if items.len() <= size {
            return String::new();
        }
        items.truncate(size);
        items.last().map(|last| BASE64_URL_SAFE_NO_PAD.encode(key(last))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<i64> {
        text.parse().ok()
    }

    #[test]
    fn sizes_have_a_default_and_a_limit() {
        for (given, size) in [(0, 100), (1, 1), (1000, 1000), (i32::MAX, 1000)] {
            assert_eq!(Page::parse(given, "", 0, number), Ok(Page { size, after: 0 }));
        }
        assert_eq!(Page::parse(-1, "", 0, number).map_err(|e| e.field), Err("page_size".into()));
    }

    #[test]
    fn a_token_leads_to_the_next_page_and_nonsense_nowhere() {
        let page = Page::parse(2, "", 0, number).unwrap();
        let mut items = vec![7, 8, 9];
        let token = page.cut(&mut items, ToString::to_string);
        assert_eq!(items, [7, 8]);
        assert_eq!(Page::parse(2, &token, 0, number), Ok(Page { size: 2, after: 8 }));
        assert_eq!(page.cut(&mut items, ToString::to_string), "");
        for nonsense in ["8", "%", "eA"] {
            assert_eq!(Page::parse(2, nonsense, 0, number).map_err(|e| e.field), Err("page_token".into()));
        }
    }
}

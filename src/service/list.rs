use compact_str::format_compact;

use crate::cache::{Group, Key};
use crate::domain::{Page, Start};

/// The key of a page, in its list's group.
pub(super) fn page_key(list: Group, page: Page) -> Key {
    let Page { start, limit } = page;
    let which = match start {
        Start::Skip(skip) => format_compact!("{skip}:{limit}"),
        Start::After(id) => format_compact!("after:{id}:{limit}"),
    };
    Key::of_text(list.name(), &which).in_group(list)
}

/// The page that the rest of such a key names: `:0:100`, `:after:7:100`.
pub(super) fn page_of(rest: &str) -> Option<Page> {
    let rest = rest.strip_prefix(':')?;
    let (start, limit) = rest.rsplit_once(':')?;
    let start = match start.strip_prefix("after:") {
        Some(id) => Start::After(id.parse().ok()?),
        None => Start::Skip(start.parse().ok()?),
    };
    let limit = limit.parse().ok()?;
    Some(Page { start, limit })
}

/// The same page with one row more, which tells whether there is a next page.
pub(super) fn and_one_more(page: Page) -> Page {
    Page {
        limit: page.limit + 1,
        ..page
    }
}

//! Laws of the backend itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alacena::cache::{
    CacheBackend, Change, Clear, Entry, Filled, Key, LogBatch, LogEntry, Lookup, Mode, Position,
    Stale, Ticket, Voided, Watermark,
};
use bytes::Bytes;

use super::source::{PAGES, POLICY, START, page, row};

type Backend = Arc<dyn CacheBackend>;

fn entry(value: &'static str) -> Entry {
    POLICY.entry(Some(Bytes::from_static(value.as_bytes())), START)
}

async fn miss(backend: &Backend, key: &Key) -> Option<Ticket> {
    match backend.lookup(key, Mode::Read, START).await {
        Lookup::Miss(ticket) => ticket,
        found => panic!("{key:?} was to be a miss, and is {found:?}"),
    }
}

async fn hit(backend: &Backend, key: &Key) -> Option<Entry> {
    match backend.lookup(key, Mode::Read, START).await {
        Lookup::Hit(entry, _) => Some(entry),
        _ => None,
    }
}

async fn void(backend: &Backend, change: Change, through: Option<(Ticket, Entry)>) {
    // One that has found out that something was lost, or does so now, may not confirm.
    let is_in_doubt = backend.trouble().is_some();
    let voided = backend.void(&change, through).await;
    assert!(voided != Voided::Unconfirmed || is_in_doubt || backend.trouble().is_some());
}

/// Fills a key as a reader does, and makes sure that it holds.
async fn fill(backend: &Backend, key: &Key, value: &'static str) {
    let ticket = miss(backend, key)
        .await
        .expect("a miss comes with a ticket");
    assert_eq!(backend.fill(ticket, entry(value)).await, Filled::Stored);
}

/// A fill after the void must not be there, whether it was refused or is invisible.
async fn assert_refused(backend: &Backend, ticket: Option<Ticket>, key: &Key) {
    if let Some(ticket) = ticket {
        assert_ne!(backend.fill(ticket, entry("old")).await, Filled::Stored);
    }
    assert_eq!(hit(backend, key).await, None);
    assert!(backend.peek(key, START).is_none());
    assert!(!backend.exists(key, START).await);
}

/// What is filled is found, by every way of looking.
pub async fn a_filled_entry_is_found_and_an_absence_too(backend: Backend) {
    fill(&backend, &row(1), "new").await;
    let found = hit(&backend, &row(1)).await.expect("it is found");
    assert_eq!(found.value(), Some(&Bytes::from_static(b"new")));
    assert!(backend.exists(&row(1), START).await);
    let ticket = miss(&backend, &row(2))
        .await
        .expect("a miss comes with a ticket");
    assert_eq!(
        backend.fill(ticket, POLICY.entry(None, START)).await,
        Filled::Stored
    );
    assert_eq!(
        hit(&backend, &row(2)).await.expect("it is found").value(),
        None
    );
}

/// Past its TTL an entry is stale, past its stale limit it is gone.
pub async fn an_entry_past_its_time_is_no_hit_but_is_kept(backend: Backend) {
    fill(&backend, &row(1), "new").await;
    let late = START + POLICY.ttl;
    assert!(backend.peek(&row(1), late).is_none());
    let stale = backend.lookup(&row(1), Mode::Read, late).await;
    assert!(matches!(stale, Lookup::Stale(_, _, Some(_))), "{stale:?}");
    let gone = backend
        .lookup(&row(1), Mode::Read, late + POLICY.stale_limit)
        .await;
    assert!(matches!(gone, Lookup::Miss(Some(_))), "{gone:?}");
}

/// A refresh is told what is there, but never that it will do.
pub async fn a_refresh_finds_no_hit(backend: Backend) {
    fill(&backend, &row(1), "old").await;
    let Lookup::Stale(_, _, Some(ticket)) = backend.lookup(&row(1), Mode::Refresh, START).await
    else {
        panic!("a refresh was to find a stale entry, and a ticket")
    };
    assert_eq!(backend.fill(ticket, entry("new")).await, Filled::Stored);
    let found = hit(&backend, &row(1)).await.expect("it is found");
    assert_eq!(found.value(), Some(&Bytes::from_static(b"new")));
}

/// Voiding a group takes its pages and leaves everything else.
pub async fn a_group_void_takes_every_page_and_no_other_key(backend: Backend) {
    for number in 0..20 {
        fill(&backend, &page(number), "old").await;
        fill(&backend, &row(number), "kept").await;
    }
    void(&backend, Change::of_something_new().and_group(PAGES), None).await;
    for number in 0..20 {
        assert_eq!(hit(&backend, &page(number)).await, None);
        assert!(!backend.exists(&page(number), START).await);
        assert!(hit(&backend, &row(number)).await.is_some());
    }
    fill(&backend, &page(0), "new").await;
    assert!(hit(&backend, &page(0)).await.is_some());
    assert!(backend.exists(&Key::named(page(0).name()), START).await);
}

/// A writer alone hands its value through.
pub async fn a_void_writes_through_under_a_good_ticket(backend: Backend) {
    fill(&backend, &row(1), "old").await;
    let ticket = backend
        .ticket(&row(1))
        .await
        .expect("a writer gets a ticket");
    void(&backend, Change::of(row(1)), Some((ticket, entry("new")))).await;
    let found = hit(&backend, &row(1)).await.expect("it is found");
    assert_eq!(found.value(), Some(&Bytes::from_static(b"new")));
}

/// Clear takes the keys that match, whole, and says how many there were.
pub async fn clear_counts_what_it_takes_and_takes_what_matches(backend: Backend) {
    for id in 0..12 {
        fill(&backend, &row(id), "x").await;
        fill(&backend, &page(id), "x").await;
    }
    let clear = async |pattern: &str| {
        let clear: Clear = pattern.parse().expect("a pattern");
        backend.clear(&clear).await
    };
    assert_eq!(clear("row:?").await, 10);
    assert_eq!(clear("row:*").await, 2);
    assert_eq!(clear("nothing:*").await, 0);
    assert_eq!(clear(&format!("{}:[0-3]", PAGES.name())).await, 4);
    assert!(hit(&backend, &page(5)).await.is_some());
    assert_eq!(clear("*").await, 8);
    assert_eq!(hit(&backend, &page(5)).await, None);
}

/// Blanks, line breaks, glob characters and other scripts are nothing special in a key.
pub async fn odd_keys_are_keys_like_any_other(backend: Backend) {
    let names = [
        "a b",
        "a\nb",
        "a\r\n",
        "ñandú:ü",
        "日本:1",
        "*",
        "a*",
        "[a]",
        "a?",
        "{tag}:1",
        "",
        ":",
        "::",
        "a\u{0}b",
        "\"quoted\"",
        "back\\slash",
        "🦀",
    ];
    let long = "x".repeat(4000);
    let names = names.iter().copied().chain([long.as_str()]);
    for name in names.clone() {
        fill(&backend, &Key::of_text("odd", name), "x").await;
    }
    for name in names {
        let key = Key::of_text("odd", name);
        assert!(hit(&backend, &key).await.is_some(), "{name:?} was lost");
        void(&backend, Change::of(key.clone()), None).await;
        assert_eq!(hit(&backend, &key).await, None, "{name:?} stayed");
    }
}

/// Rule 1 of the idea.
pub async fn a_ticket_does_not_outlive_a_void(backend: Backend) {
    let reader = miss(&backend, &row(1)).await;
    void(&backend, Change::of_something_new().and(row(1)), None).await;
    assert_refused(&backend, reader, &row(1)).await;
}

/// Rule 1 of the idea, for groups.
pub async fn a_ticket_does_not_outlive_a_void_of_its_group(backend: Backend) {
    let reader = miss(&backend, &page(1)).await;
    void(&backend, Change::of_something_new().and_group(PAGES), None).await;
    assert_refused(&backend, reader, &page(1)).await;
}

/// The log tells of this, at this position.
fn told(position: u64, stale: Stale) -> LogBatch {
    let position = Position::new(position);
    let until = Watermark::parse(&(position.number() + 1).to_string());
    LogBatch {
        entries: vec![LogEntry { position, stale }],
        until: until.expect("a number is a watermark"),
    }
}

/// Recovery rule 3: a row of the log voids value and tickets, those of readers and of writers.
pub async fn a_ticket_does_not_outlive_what_the_log_tells_of(backend: Backend) {
    let reader = miss(&backend, &row(1)).await;
    let writer = backend.ticket(&row(1)).await;
    let page_reader = miss(&backend, &page(1)).await;
    let change = Change::of(row(1)).and_group(PAGES);
    let _ = backend.apply(&told(100, Stale::Change(change))).await;
    assert_refused(&backend, reader, &row(1)).await;
    assert_refused(&backend, page_reader, &page(1)).await;
    let through = writer.map(|writer| (writer, entry("old")));
    let _ = backend.void(&Change::of(row(1)), through).await;
    assert_eq!(hit(&backend, &row(1)).await, None);
}

/// What a writer has voided need not be voided again when the log tells of it. Everything else is.
pub async fn what_the_log_tells_of_is_voided_unless_its_writer_has_done_so(backend: Backend) {
    let change = |position| Change::of(row(1)).committed(Some(Position::new(position)));
    let tell = async |position| {
        let batch = told(position, Stale::Change(change(position)));
        assert_eq!(backend.apply(&batch).await, Voided::Confirmed);
    };
    let found = async || {
        let found = hit(&backend, &row(1)).await?;
        found.value().cloned()
    };
    void(&backend, change(100), None).await;
    fill(&backend, &row(1), "loaded after it").await;
    // As far as it goes: the transaction's other rows are still to come.
    let mut first = told(100, Stale::Change(change(100)));
    first.until = Watermark::parse("100").expect("a number is a watermark");
    assert_eq!(backend.apply(&first).await, Voided::Confirmed);
    assert_eq!(found().await, Some(Bytes::from_static(b"loaded after it")));
    // What else the same transaction changed, its writer knew nothing of.
    fill(&backend, &row(2), "old").await;
    let more = told(100, Stale::Change(Change::of(row(2))));
    assert_eq!(backend.apply(&more).await, Voided::Confirmed);
    assert_eq!(hit(&backend, &row(2)).await, None);
    tell(101).await;
    assert_eq!(found().await, None, "another's change");
    let ticket = backend.ticket(&row(1)).await.expect("a ticket");
    void(&backend, change(102), Some((ticket, entry("new")))).await;
    tell(102).await;
    assert_eq!(found().await, Some(Bytes::from_static(b"new")));
    tell(103).await;
    assert_eq!(found().await, None, "another's change");
}

/// What an operator clears does not come back out of a load that had begun before.
pub async fn a_ticket_does_not_outlive_a_clear(backend: Backend) {
    let reader = miss(&backend, &row(1)).await;
    backend.clear(&"row:*".parse().expect("a pattern")).await;
    assert_refused(&backend, reader, &row(1)).await;
}

/// A backend that could not do a clear does it when the log tells of it.
pub async fn a_ticket_does_not_outlive_a_clear_that_the_log_tells_of(backend: Backend) {
    let reader = miss(&backend, &row(1)).await;
    let clear: Clear = "row:*".parse().expect("a pattern");
    backend.clear(&clear).await;
    let applied = backend.apply(&told(100, Stale::Cleared(clear))).await;
    // Otherwise a recovery does it.
    if applied == Voided::Confirmed {
        assert_refused(&backend, reader, &row(1)).await;
    }
}

/// Distrust takes the tickets too.
pub async fn a_ticket_does_not_outlive_distrust(backend: Backend) {
    let reader = miss(&backend, &row(1)).await;
    backend.distrust();
    assert_refused(&backend, reader, &row(1)).await;
}

/// Loads may end in any order: what was loaded last stays.
pub async fn a_late_fill_does_not_replace_what_was_loaded_after_it(backend: Backend) {
    let early = miss(&backend, &row(1)).await;
    let refreshing = match backend.lookup(&row(1), Mode::Refresh, START).await {
        Lookup::Stale(_, _, ticket) | Lookup::Miss(ticket) => ticket,
        Lookup::Hit(..) => panic!("a refresh is never told that what is there will do"),
    };
    if let (Some(early), Some(refreshing)) = (early, refreshing) {
        assert_eq!(backend.fill(refreshing, entry("new")).await, Filled::Stored);
        assert_eq!(backend.fill(early, entry("old")).await, Filled::Refused);
    }
    if let Some(found) = hit(&backend, &row(1)).await {
        assert_eq!(found.value(), Some(&Bytes::from_static(b"new")));
    }
}

/// A refresh spoils nobody's ticket: readers and writers go on as if it were not there.
pub async fn a_refresh_spoils_no_ticket(backend: Backend) {
    let reader = miss(&backend, &row(1)).await;
    let writer = backend.ticket(&row(1)).await;
    backend.lookup(&row(1), Mode::Refresh, START).await;
    if let Some(reader) = reader {
        assert_eq!(backend.fill(reader, entry("old")).await, Filled::Stored);
    }
    let through = writer.map(|ticket| (ticket, entry("new")));
    void(&backend, Change::of(row(1)), through).await;
    if let Some(found) = hit(&backend, &row(1)).await {
        assert_eq!(found.value(), Some(&Bytes::from_static(b"new")));
    }
}

/// Rule 2 of the idea: whoever voids second cannot know whose value is newer, and removes.
pub async fn overlapping_writers_never_leave_the_older_value(backend: Backend) {
    let first = backend.ticket(&row(1)).await;
    let second = backend.ticket(&row(1)).await;
    // The second committed later, but voids first.
    let newer = second.map(|ticket| (ticket, entry("newer")));
    void(&backend, Change::of(row(1)), newer).await;
    let older = first.map(|ticket| (ticket, entry("older")));
    void(&backend, Change::of(row(1)), older).await;
    assert_eq!(hit(&backend, &row(1)).await, None);
}

/// Rule 2 of the idea, where the newer value is that there is none.
pub async fn a_late_write_through_does_not_bring_a_deleted_row_back(backend: Backend) {
    let updating = backend.ticket(&row(1)).await;
    void(&backend, Change::of(row(1)), None).await;
    let late = updating.map(|ticket| (ticket, entry("deleted since")));
    void(&backend, Change::of(row(1)), late).await;
    assert_eq!(hit(&backend, &row(1)).await, None);
}

/// Rule 3 of recovery: a void destroys every ticket of the key, a removing one too.
pub async fn a_void_spoils_the_tickets_of_other_writers(backend: Backend) {
    let (reader, writer) = (miss(&backend, &row(1)).await, backend.ticket(&row(1)).await);
    void(&backend, Change::of(row(1)), None).await;
    assert_refused(&backend, writer, &row(1)).await;
    assert_refused(&backend, reader, &row(1)).await;
}

/// Nothing is left after distrust, and new loads are kept again.
pub async fn distrust_leaves_nothing(backend: Backend) {
    for id in 0..50 {
        if let Some(ticket) = miss(&backend, &row(id)).await {
            backend.fill(ticket, entry("x")).await;
        }
    }
    backend.distrust();
    for id in 0..50 {
        assert_eq!(hit(&backend, &row(id)).await, None);
    }
    if let Some(ticket) = miss(&backend, &row(1)).await {
        assert_eq!(backend.fill(ticket, entry("new")).await, Filled::Stored);
    }
}

const WINDOW: Duration = Duration::from_secs(60);

/// Counters are told apart, may go down, and start at zero again after their window, which runs from the
/// first count. Time passes here: a backend that shares counters has the clock of its server.
pub async fn counters_count_each_by_itself_and_forget_after_their_window(backend: Backend) {
    let began = Instant::now();
    let window = Duration::from_secs(1);
    let count = async |name: &str, by: i64, window| {
        let now = START + began.elapsed();
        let count = backend.increment(name, by, window, now).await;
        assert!(count.until.since(now) <= window, "{count:?}");
        count.value
    };
    assert_eq!(count("a", 2, WINDOW).await, 2);
    assert_eq!(count("b", 5, WINDOW).await, 5);
    assert_eq!(count("a", 1, WINDOW).await, 3);
    assert_eq!(count("a", -1, WINDOW).await, 2);
    // What is taken back too often gives a caller nothing.
    assert_eq!(count("a", -5, WINDOW).await, 0);
    assert_eq!(count("a", 1, WINDOW).await, 1);

    let mut last = count("c", 1, window).await;
    loop {
        tokio::time::sleep(window / 20).await;
        let value = count("c", 1, window).await;
        // A store may forget by its own clock, which need not tick more than once a second.
        if value <= last {
            break;
        }
        last = value;
    }
    assert!(began.elapsed() >= window);
}

/// Counters are no cache entries.
pub async fn counters_survive_clear_and_distrust(backend: Backend) {
    backend.increment("row:1", 3, WINDOW, START).await;
    backend.clear(&"*".parse().expect("a pattern")).await;
    void(&backend, Change::of(row(1)), None).await;
    backend.distrust();
    assert_eq!(backend.increment("row:1", 1, WINDOW, START).await.value, 4);
}

/// No increment is lost.
pub async fn increments_from_many_tasks_all_count(backend: Backend) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move {
                for _ in 0..100 {
                    backend.increment("shared", 1, WINDOW, START).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task panics");
    }
    assert_eq!(
        backend.increment("shared", 0, WINDOW, START).await.value,
        800
    );
}

//! What the dashboard says while something is wrong.

use std::net::SocketAddr;
use std::sync::Arc;

use alacena_lab::servers::Redis;
use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, block_in_place};

use crate::browser::Page;
use crate::looks::is_legible;
use crate::support::{Storage, Store, TestApp, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_is_told_with_the_reason_and_so_is_its_return() {
    let mut redis = block_in_place(Redis::start).expect("Redis starts");
    let config = format!("cache.redis.url = '{}'", redis.url());
    let app = TestApp::start_on(Storage::Sqlite, "tiered", &config).await;
    let page = Page::dashboard(&app).await;
    page.says("#cache-status", "available").await;
    assert!(page.is_shown("#redis").await && !page.is_shown("#banner").await);
    eventually("Redis tells its figures", async || {
        page.text("#connected-clients").await != "0"
    })
    .await;

    block_in_place(|| redis.kill()).expect("it dies");
    page.says("#banner", "Redis is not used: ").await;
    page.says("#cache-status", "degraded").await;
    let reason = page.text("#banner").await;
    assert!(reason.to_lowercase().contains("connection"), "{reason}");
    assert!(
        page.text("#announcement")
            .await
            .contains("Redis is not used"),
        "it is read out"
    );
    is_legible(&page, "#banner").await;

    block_in_place(|| redis.start_again()).expect("it starts");
    page.says("#announcement", "All is well again").await;
    page.says("#banner", "All is well again").await;
    page.says("#cache-status", "available").await;
    eventually("the banner goes", async || !page.is_shown("#banner").await).await;
    // As it was: it does not stay for as long as this may take.
    page.eval("document.getElementById('banner').hidden = false")
        .await;
    is_legible(&page, "#banner").await;
    page.close(&[]).await;
}

/// An address that stays while the service behind it goes and another comes.
struct Door {
    address: SocketAddr,
    service: Arc<Mutex<Option<SocketAddr>>>,
    task: JoinHandle<()>,
}

impl Door {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let service = Arc::new(Mutex::new(None));
        let behind = Arc::clone(&service);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                // Without a service, the connection ends here.
                let Some(service) = *behind.lock() else {
                    continue;
                };
                tokio::spawn(async move {
                    if let Ok(mut service) = TcpStream::connect(service).await {
                        // Either may hang up at any time.
                        let _ = copy_bidirectional(&mut client, &mut service).await;
                    }
                });
            }
        });
        Self {
            address,
            service,
            task,
        }
    }

    fn lead_to(&self, service: Option<SocketAddr>) {
        *self.service.lock() = service;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_goes_is_told_and_the_page_goes_on_when_it_is_back() {
    let store = block_in_place(|| Store::fresh(Storage::Sqlite));
    let first = TestApp::start_at(&store.url(), "memory", "").await;
    let door = Door::open().await;
    door.lead_to(Some(first.address));
    let page = Page::dashboard_at(door.address).await;
    // It takes two looks to tell how many there are each second: the page has seen that all is well.
    eventually("the page has looked twice", async || {
        page.text("#requests-now").await != "–"
    })
    .await;
    door.lead_to(None);
    first.stop().await;
    page.says("#banner", "The service does not answer.").await;
    page.says("#banner", "Since ").await;

    let second = TestApp::start_at(&store.url(), "memory", "").await;
    door.lead_to(Some(second.address));
    page.says("#banner", "All is well again").await;
    let admin = second.admin().await;
    second.get("/users/1").by(&admin).await.expect(200);
    page.says("#rate-ever", "of 1").await;
    page.close(&["net::ERR_"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_off_is_no_alarm_but_is_said() {
    let app = TestApp::start_on(Storage::Sqlite, "off", "").await;
    let page = Page::dashboard(&app).await;
    page.says("#banner", "The cache is off by configuration")
        .await;
    page.says("#cache-status", "off").await;
    is_legible(&page, "#banner").await;
    page.close(&[]).await;
}

/// Has the page's next answers of this path end before they are whole.
const CUT: &str = "window.whole = window.fetch; window.fetch = async (path, options) => {
    const answer = await window.whole(path, options);
    return path.startsWith(window.cut) ? new Response('{\"cut\":', { status: 200 }) : answer;
};";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_too_early_is_told_and_the_page_goes_on() {
    let app = TestApp::start_on(Storage::Sqlite, "memory", "").await;
    let page = Page::dashboard(&app).await;
    eventually("the page has looked twice", async || {
        page.text("#requests-now").await != "–"
    })
    .await;
    page.eval("window.cut = '/dashboard/figures'").await;
    page.eval(CUT).await;
    page.says("#banner", "The service does not answer.").await;

    page.eval("window.cut = 'nothing'").await;
    page.says("#banner", "All is well again").await;

    // Figures that come do not hide that what was read over time does not.
    page.eval("window.cut = '/cache/history'; document.querySelector('#range input').click()")
        .await;
    page.says("#banner", "The service does not answer.").await;
    let polls = page.text("#requests-ever").await;
    app.get("/health/live").await;
    eventually("the figures go on", async || {
        page.text("#requests-ever").await != polls
    })
    .await;
    page.says("#banner", "The service does not answer.").await;
    page.eval("window.cut = 'nothing'; document.querySelectorAll('#range input')[1].click()")
        .await;
    page.says("#banner", "All is well again").await;
    page.close(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_told_with_the_reason_and_so_is_its_recovery() {
    let app = TestApp::start("").await;
    let page = Page::dashboard(&app).await;
    page.says("#database-status", "up").await;
    app.truth()
        .execute("ALTER TABLE products RENAME TO elsewhere");
    page.says("#database-status", "damaged").await;
    page.says("#banner", "missing: products").await;
    is_legible(&page, "#banner").await;
    app.truth()
        .execute("ALTER TABLE elsewhere RENAME TO products");
    page.says("#database-status", "up").await;
    page.close(&[]).await;
}

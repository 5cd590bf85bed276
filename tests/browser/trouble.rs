//! What the dashboard says while something is wrong.

use alacena_lab::servers::Redis;
use tokio::task::block_in_place;

use crate::browser::Page;
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
    page.shows("#banner").await;
    page.says("#banner", "The cache is degraded: ").await;
    page.says("#cache-status", "degraded").await;
    let reason = page.text("#banner").await;
    assert!(
        reason.contains("Connection refused") || reason.contains("connection"),
        "{reason}"
    );
    assert!(
        page.text("#announcement").await.contains("degraded"),
        "it is read out"
    );

    block_in_place(|| redis.start_again()).expect("it starts");
    page.says("#banner", "All is well again").await;
    assert!(
        page.text("#announcement")
            .await
            .contains("All is well again")
    );
    page.says("#cache-status", "available").await;
    eventually("the banner goes", async || !page.is_shown("#banner").await).await;
    page.close(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_goes_is_told_and_the_page_goes_on_when_it_is_back() {
    let store = block_in_place(|| Store::fresh(Storage::Sqlite));
    let first = TestApp::start_at(&store.url(), "memory", "").await;
    let again = format!("server.port = {}", first.address.port());
    let page = Page::dashboard(&first).await;
    page.says("#cache-status", "available").await;
    first.stop().await;
    page.says("#banner", "The service does not answer.").await;
    page.says("#banner", "Since ").await;

    let second = TestApp::start_at(&store.url(), "memory", &again).await;
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
    page.close(&[]).await;
}

//! What an admin does on the dashboard.

use futures_util::future::join_all;
use serde_json::Value;

use crate::browser::Page;
use crate::support::tokens::{SECRET, claims, hs256, now};
use crate::support::{ADMIN_EMAIL, ADMIN_PASSWORD, TestApp, eventually};

/// What Chromium itself says of an answer like this.
const UNAUTHENTICATED: &str = "status of 401";

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_logs_in_and_sees_the_figures_and_logs_out() {
    let app = TestApp::start("").await;
    let page = Page::open(&app, "/dashboard").await;
    assert!(!page.is_shown("#board").await, "strangers see no figures");
    page.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    page.says("#cache-status", "available").await;
    page.says("#database-status", "up").await;
    page.says("#about", "memory cache").await;
    assert!(
        page.text("#about")
            .await
            .starts_with(env!("CARGO_PKG_VERSION"))
    );
    for figure in [
        "requests-now",
        "requests-ever",
        "failed-now",
        "entries",
        "used-memory",
        "fills",
        "log-age",
        "observer-checked",
    ] {
        let css = format!("#{figure}");
        eventually(figure, async || {
            page.text(&css)
                .await
                .starts_with(|c: char| c.is_ascii_digit())
        })
        .await;
    }
    // Nothing was read, so there is no rate.
    page.says_only("#rate-now", "–").await;
    page.says_only("#rate-ever", "– of 0").await;
    assert!(!page.is_shown("#banner").await, "nothing is wrong");
    assert!(page.is_shown("#no-redis").await && !page.is_shown("#redis").await);

    page.click("#log-out").await;
    page.shows("#login").await;
    assert!(!page.is_shown("#board").await);
    let kept = "return sessionStorage.length + localStorage.length + document.cookie.length";
    assert_eq!(page.eval(kept).await, 0, "nothing of the login is left");
    page.close(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_lasts_as_long_as_the_tab() {
    let app = TestApp::start("").await;
    let page = Page::dashboard(&app).await;
    page.go("/dashboard").await;
    page.says("#cache-status", "available").await;
    page.close(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_move_under_load() {
    let app = TestApp::start("").await;
    let page = Page::dashboard(&app).await;
    let admin = app.admin().await;
    let (product, _) = app.new_product(&admin).await;
    // One goes to the database, and 49 do not: together, so that one look at the page has them all.
    app.get(&product).by(&admin).await.expect(200);
    let others = (0..49).map(|_| app.get(&product).by(&admin).send());
    for answer in join_all(others).await {
        answer.expect("the service answers").expect(200);
    }
    page.says_only("#rate-now", "98.00 %").await;
    page.says_only("#rate-ever", "98.00 % of 50").await;
    page.says_only("#near-ever", "98.00 % of 50").await;
    page.says_only("#far-ever", "0 % of 50").await;
    page.says("#failed-ever", "0 in all").await;
    eventually("there are requests each second", async || {
        let rate: f64 = page.text("#requests-now").await.parse().unwrap_or_default();
        rate > 0.0
    })
    .await;
    eventually("latencies are told", async || {
        page.text("#latency-p50").await.ends_with('s')
    })
    .await;
    // And come to rest.
    eventually("nothing is asked any more", async || {
        page.text("#requests-now").await == "0"
    })
    .await;
    page.says_only("#rate-now", "–").await;
    page.close(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_the_right_one_then_works() {
    let app = TestApp::start("").await;
    let page = Page::open(&app, "/dashboard").await;
    page.log_in(ADMIN_EMAIL, "wrong").await;
    page.says("#login-refusal", "password is wrong").await;
    assert!(!page.is_shown("#board").await);
    page.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    page.shows("#board").await;
    page.close(&[
        "/auth/login - Failed to load resource: the server responded with a status of 401",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_tried_too_often_is_told_how_long_to_wait() {
    let app = TestApp::start("auth.login_attempts = 1").await;
    app.try_login(ADMIN_EMAIL, "wrong").await.expect(401);
    let page = Page::open(&app, "/dashboard").await;
    page.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    page.says("#login-refusal", "Try again in ").await;
    // The window is five minutes.
    page.says("#login-refusal", " min ").await;
    page.close(&[
        "/auth/login - Failed to load resource: the server responded with a status of 429",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_admin_is_told_that_only_admins_may() {
    let app = TestApp::start("").await;
    let user = app.new_user(&app.admin().await).await;
    let page = Page::open(&app, "/dashboard").await;
    page.log_in(&user.email, &user.password).await;
    page.says("#login-refusal", "for admins only").await;
    assert!(!page.is_shown("#board").await);
    assert_eq!(page.eval("return sessionStorage.length").await, 0);
    page.close(&[
        "/dashboard/figures - Failed to load resource: the server responded with a status of 403",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_expires_leads_back_to_the_form() {
    let app = TestApp::start("").await;
    let page = Page::dashboard(&app).await;
    page.says("#cache-status", "available").await;
    // As time would do it, at a moment of the test's choice.
    let mut claims = claims(&mut app.truth(), 1);
    claims["exp"] = (now() - 1).into();
    let expired = hs256(&claims, SECRET);
    page.eval(&format!(
        "sessionStorage.setItem('alacena.token', '{expired}')"
    ))
    .await;
    page.says("#login-refusal", "Log in again.").await;
    assert!(page.is_shown("#login").await && !page.is_shown("#board").await);
    page.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    page.shows("#board").await;
    page.close(&[UNAUTHENTICATED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clearing_asks_first_and_says_how_many_went() {
    let app = TestApp::start("").await;
    let admin = app.admin().await;
    for _ in 0..2 {
        let (product, _) = app.new_product(&admin).await;
        app.get(&product).by(&admin).await.expect(200);
    }
    let exists = async || {
        let answer = app.get("/cache/exists?key=product:1").by(&admin).await;
        answer.expect(200).json()["exists"] == true
    };
    let page = Page::dashboard(&app).await;
    let pattern = page.find("#pattern").await.prop("value").await;
    assert_eq!(
        pattern.expect("a field has a value").as_deref(),
        Some("user:*")
    );
    page.type_into("#pattern", "product:*").await;
    page.click("#clear-form button").await;
    page.shows("#clear-dialog").await;
    let question = page.text("#clear-dialog").await;
    assert!(
        question.contains("product:*") && question.contains("every instance"),
        "{question}"
    );
    page.click("#clear-dialog button[value=cancel]").await;
    assert!(!page.is_shown("#clear-dialog").await);
    assert!(exists().await, "nothing happens before it is confirmed");
    assert_eq!(page.text("#clear-result").await, "");

    page.click("#clear-form button").await;
    page.shows("#clear-dialog").await;
    page.click("#clear-dialog button[value=clear]").await;
    page.says("#clear-result", "Cleared 2 cache entries").await;
    assert!(!exists().await);

    page.type_into("#pattern", "[a").await;
    page.click("#clear-form button").await;
    page.click("#clear-dialog button[value=clear]").await;
    page.says("#clear-result", "Refused: pattern ").await;
    page.close(&["status of 422"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_a_key_up_tells_where_it_is_and_nothing_of_what_it_holds() {
    // An absence is to be remembered for as long as a browser takes.
    let app = TestApp::start("cache.negative_ttl = '10m'").await;
    let admin = app.admin().await;
    app.get("/users/1").by(&admin).await.expect(200);
    app.get("/products/999").by(&admin).await.expect(404);
    let page = Page::dashboard(&app).await;
    let look_up = async |key: &str| {
        page.type_into("#key", key).await;
        page.click("#entry-form button").await;
        page.says("#entry-result", key).await;
    };
    look_up("user:1").await;
    page.says("#copies", "near").await;
    let copies = page.text("#copies").await;
    assert!(
        copies.contains("min") && copies.contains(" B"),
        "ttl and size: {copies}"
    );
    look_up("user:999").await;
    page.says("#entry-result", "is not cached").await;
    assert!(!page.is_shown("#copies").await);
    look_up("product:999").await;
    page.says("#entry-result", "there is no such thing").await;
    page.says("#copies", "absent").await;

    let all = page.eval("return document.documentElement.outerHTML").await;
    let all = all.as_str().expect("the page as text");
    for secret in [ADMIN_EMAIL, ADMIN_PASSWORD, "argon2", "eyJ"] {
        assert!(!all.contains(secret), "the page holds {secret}");
    }
    page.close(&[]).await;
}

/// What the picture shows to those who cannot see it.
async fn alternative(page: &Page) -> String {
    let alternative = page.find("#chart").await.attr("alt").await;
    alternative.expect("the driver answers").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_is_drawn_and_told_as_it_was() {
    let app = TestApp::start("").await;
    let admin = app.admin().await;
    let (product, _) = app.new_product(&admin).await;
    for _ in 0..4 {
        app.get(&product).by(&admin).await.expect(200);
    }
    app.get("/users").by(&admin).await.expect(200);
    let page = Page::dashboard(&app).await;
    let drawn = "return document.getElementById('chart').naturalWidth";
    eventually("the picture is there", async || {
        page.eval(drawn).await.as_u64() > Some(320)
    })
    .await;
    let told = alternative(&page).await;
    assert!(
        told.contains("last 24 hours") && told.contains("60.00 % on average of 5 reads"),
        "{told}"
    );
    page.says("#kinds", "product").await;
    let kinds = page.find("#kinds").await.text().await.expect("a table");
    let lines: Vec<&str> = kinds.lines().collect();
    assert!(lines[0].starts_with("product 4 75.00 %"), "{kinds}");
    assert!(lines[1].starts_with("users:list 1 0 %"), "{kinds}");
    page.click("details summary").await;
    let hours = page.text("#hours").await;
    assert!(
        hours.contains(":00") && hours.contains("60.00 %"),
        "{hours}"
    );

    let history: Value = app
        .get("/cache/history")
        .by(&admin)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&history["reads"], &history["hit_rate"]),
        (&5.into(), &60.0.into())
    );

    page.click("#range label").await;
    eventually("the hour is told", async || {
        alternative(&page).await.contains("last hour")
    })
    .await;
    page.close(&[]).await;
}

//! The page to try the API in.

use crate::browser::Page;
use crate::support::{ADMIN_EMAIL, ADMIN_PASSWORD, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn a_route_can_be_tried_out_after_logging_in() {
    let app = TestApp::start("").await;
    let page = Page::open(&app, "/docs/").await;
    page.shows(".auth-wrapper .authorize").await;
    page.click(".auth-wrapper .authorize").await;
    page.shows("#oauth_username").await;
    page.type_into("#oauth_username", ADMIN_EMAIL).await;
    page.type_into("#oauth_password", ADMIN_PASSWORD).await;
    page.click(".auth-btn-wrapper .authorize").await;
    page.shows(".auth-btn-wrapper .btn-done").await;
    page.click(".auth-btn-wrapper .btn-done").await;

    let operation = "#operations-auth-me";
    page.click(&format!("{operation} .opblock-summary-control"))
        .await;
    page.shows(&format!("{operation} .execute")).await;
    page.click(&format!("{operation} .execute")).await;
    let answer = format!("{operation} .live-responses-table .response");
    page.shows(&answer).await;
    page.says(&format!("{answer} .response-col_status"), "200")
        .await;
    page.says(&answer, ADMIN_EMAIL).await;
    page.close(&[]).await;
}

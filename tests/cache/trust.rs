//! When Redis is asked, how long it is waited for, and when it is trusted again.

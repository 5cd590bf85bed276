-- What has changed, for every instance to void. Written by triggers, so that nothing that changes a
-- row can forget it: not the service, not the sqlite3 shell, not a bulk load.
--
-- SQLite has one writer at a time, so positions are in the order of the commits.
CREATE TABLE cache_changes (
    position INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    -- Random, so that the same position in another history of this database is told apart.
    mark BIGINT NOT NULL DEFAULT (random()),
    -- Milliseconds since the Unix epoch. (Older shells know no finer unixepoch().)
    made_at BIGINT NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    kind TEXT NOT NULL CHECK (kind IN ('begin', 'user', 'product', 'clear', 'all')),
    id BIGINT,
    detail TEXT
);

-- Which log this is, in one row.
CREATE TABLE cache_log (
    identity TEXT NOT NULL,
    lineage TEXT NOT NULL
);
INSERT INTO cache_log (identity, lineage) VALUES (lower(hex(randomblob(16))), '');
INSERT INTO cache_changes (kind) VALUES ('begin');

CREATE TRIGGER users_cache_log_insert AFTER INSERT ON users BEGIN
    INSERT INTO cache_changes (kind, id, detail) VALUES ('user', NEW.id, NEW.email_canonical);
END;
CREATE TRIGGER users_cache_log_update AFTER UPDATE ON users BEGIN
    INSERT INTO cache_changes (kind, id) SELECT 'user', OLD.id WHERE OLD.id <> NEW.id;
    INSERT INTO cache_changes (kind, id, detail) VALUES ('user', NEW.id, NEW.email_canonical);
END;
CREATE TRIGGER users_cache_log_delete AFTER DELETE ON users BEGIN
    INSERT INTO cache_changes (kind, id, detail) VALUES ('user', OLD.id, OLD.email_canonical);
END;
-- Entity tags are made of versions. Whoever changes a row by hand does not think of them.
CREATE TRIGGER users_raise_version AFTER UPDATE ON users WHEN NEW.version = OLD.version BEGIN
    UPDATE users SET version = OLD.version + 1 WHERE id = NEW.id;
END;

CREATE TRIGGER products_cache_log_insert AFTER INSERT ON products BEGIN
    INSERT INTO cache_changes (kind, id) VALUES ('product', NEW.id);
END;
CREATE TRIGGER products_cache_log_update AFTER UPDATE ON products BEGIN
    INSERT INTO cache_changes (kind, id) SELECT 'product', OLD.id WHERE OLD.id <> NEW.id;
    INSERT INTO cache_changes (kind, id) VALUES ('product', NEW.id);
END;
CREATE TRIGGER products_cache_log_delete AFTER DELETE ON products BEGIN
    INSERT INTO cache_changes (kind, id) VALUES ('product', OLD.id);
END;
CREATE TRIGGER products_raise_version AFTER UPDATE ON products WHEN NEW.version = OLD.version BEGIN
    UPDATE products SET version = OLD.version + 1 WHERE id = NEW.id;
END;

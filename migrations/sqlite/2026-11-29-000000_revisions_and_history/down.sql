DROP TABLE database_history;
DROP TRIGGER products_cache_log_update;
DROP TRIGGER users_cache_log_update;
DROP TRIGGER products_redraw;
DROP TRIGGER users_redraw;
DROP TRIGGER products_draw;
DROP TRIGGER users_draw;
ALTER TABLE products DROP COLUMN revision;
ALTER TABLE users DROP COLUMN rehashes;
ALTER TABLE users DROP COLUMN revision;
ALTER TABLE users DROP COLUMN token_nonce;
ALTER TABLE users ADD COLUMN token_version BIGINT NOT NULL DEFAULT 1;
CREATE TRIGGER users_raise_version AFTER UPDATE ON users WHEN NEW.version = OLD.version BEGIN
    UPDATE users SET version = OLD.version + 1 WHERE id = NEW.id;
END;
CREATE TRIGGER products_raise_version AFTER UPDATE ON products WHEN NEW.version = OLD.version BEGIN
    UPDATE products SET version = OLD.version + 1 WHERE id = NEW.id;
END;
CREATE TRIGGER users_cache_log_update AFTER UPDATE ON users BEGIN
    INSERT INTO cache_changes (kind, id) SELECT 'user', OLD.id WHERE OLD.id <> NEW.id;
    INSERT INTO cache_changes (kind, id, detail) VALUES ('user', NEW.id, NEW.email_canonical);
END;
CREATE TRIGGER products_cache_log_update AFTER UPDATE ON products BEGIN
    INSERT INTO cache_changes (kind, id) SELECT 'product', OLD.id WHERE OLD.id <> NEW.id;
    INSERT INTO cache_changes (kind, id) VALUES ('product', NEW.id);
END;

DROP INDEX users_password_cost;
ALTER TABLE users DROP COLUMN password_cost;

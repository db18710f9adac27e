-- Runs once, as the superuser, when PostgreSQL starts on an empty volume. Each role owns its own databases and enters no other.
\getenv counteract_password COUNTERACT_DB_PASSWORD
\getenv temporal_password TEMPORAL_DB_PASSWORD

create role counteract login password :'counteract_password';
create role temporal login password :'temporal_password';

create database counteract owner counteract;
create database temporal owner temporal;
create database temporal_visibility owner temporal;

-- Owners keep what everybody loses.
revoke all on database counteract, temporal, temporal_visibility, postgres, template1 from public;

-- The roles of `lmeraser roles`, made when the server makes its database, each with a password of the secret lmeraser-postgres. On a server that
-- has its database already: kubectl -n lmeraser exec postgres-0 -- psql -U postgres lmeraser -f /docker-entrypoint-initdb.d/roles.sql
\getenv queue QUEUE_PASSWORD
\getenv submitter SUBMITTER_PASSWORD
\getenv reader READER_PASSWORD
CREATE ROLE lmeraser_queue LOGIN;
CREATE ROLE lmeraser_submitter LOGIN;
CREATE ROLE lmeraser_reader LOGIN;
DO $$ BEGIN
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO lmeraser_queue, lmeraser_submitter, lmeraser_reader',
                 current_database());
  EXECUTE format('GRANT CREATE ON DATABASE %I TO lmeraser_queue', current_database());
END $$;
ALTER ROLE lmeraser_queue PASSWORD :'queue';
ALTER ROLE lmeraser_submitter PASSWORD :'submitter';
ALTER ROLE lmeraser_reader PASSWORD :'reader';

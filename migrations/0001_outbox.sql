-- The outbox (one row per write and entity, in the write's own transaction), the namespaces that
-- read it, and the incarnation that tells one life of this database from the next.

create table lockstep.namespaces (
  name text primary key,
  -- Some instance keeps this namespace in Redis: rows are not applied until Redis has been told.
  has_l2 boolean not null default false,
  -- What `pruned` sees may be gone from the outbox; `prune_next` takes its place one retention after it was taken.
  pruned pg_snapshot not null default pg_current_snapshot(),
  prune_next pg_snapshot not null default pg_current_snapshot(),
  prune_next_at timestamptz not null default clock_timestamp()
);

-- Which schema versions of an entity's values may lie in Redis: an invalidation drops them all.
create table lockstep.schema_versions (
  namespace text not null references lockstep.namespaces (name) on delete cascade,
  entity text not null,
  version integer not null check (version > 0),
  primary key (namespace, entity, version)
);

create table lockstep.outbox (
  row_id bigint generated always as identity primary key,
  namespace text not null,
  xid xid8 not null default pg_current_xact_id(),
  entity text not null,
  ids text[] not null,
  applied boolean not null default false,
  created_at timestamptz not null default clock_timestamp()
)
-- Every row is updated once and deleted soon: room for the update on its page, and no waiting for
-- a fifth of the table to be dead.
with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

create index outbox_by_xid on lockstep.outbox (namespace, xid);
create index outbox_unapplied on lockstep.outbox (namespace, row_id) where not applied;

-- Unlogged on purpose: a crash, an immediate stop and a promotion empty it, a clean restart keeps
-- it. So a row means that no xid was handed out twice since it was written.
create unlogged table lockstep.incarnations (
  only_row boolean primary key default true check (only_row),
  id text not null,
  system_identifier bigint not null
);

-- 16 hexadecimal digits, or null when this life of the database has none yet. A dump restored into
-- another cluster brings the row along; the system identifier doesn't match there.
create function lockstep.incarnation() returns text
language sql stable as $$
  select i.id from lockstep.incarnations i, pg_control_system() c
  where i.system_identifier = c.system_identifier
$$;

create function lockstep.begin_incarnation() returns void
language plpgsql as $$
begin
  lock table lockstep.incarnations in share row exclusive mode;
  if lockstep.incarnation() is not null then
    return;
  end if;
  delete from lockstep.incarnations;
  insert into lockstep.incarnations (id, system_identifier)
  select substr(encode(sha256(convert_to(c.system_identifier || ':' || gen_random_uuid(), 'UTF8')), 'hex'), 1, 16),
    c.system_identifier
  from pg_control_system() c;
  -- Of another life: no snapshot of this one would ever see them, so they would be told of forever.
  delete from lockstep.outbox where xid >= pg_snapshot_xmax(pg_current_snapshot());
  update lockstep.namespaces
  set pruned = pg_current_snapshot(), prune_next = pg_current_snapshot(), prune_next_at = clock_timestamp();
end
$$;

-- The relay (DESIGN §6): one durable plane a namespace, rows that are told to Redis and to the log each
-- for itself, and one instance at a time that finishes them.

alter table lockstep.namespaces
  -- 'outbox', or 'kafka:<topic>:<partitions>'. Whoever marks a row says on which plane it was published:
  -- on another one nobody would hear of it.
  add column plane text,
  -- What this sees Redis has been told of once more, a while after the first time (the delayed delete).
  add column repeated pg_snapshot not null default pg_current_snapshot();

alter table lockstep.outbox
  -- Lies in the log; without one it is set with `applied`.
  add column published boolean not null default false;

-- Beside `outbox_unapplied`: what one of the two waits for must not be in the way of the other.
create index outbox_unpublished on lockstep.outbox (namespace, row_id) where not published;

create or replace function lockstep.begin_incarnation() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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
  set pruned = pg_current_snapshot(), prune_next = pg_current_snapshot(), prune_next_at = clock_timestamp(),
    repeated = pg_current_snapshot();
end
$$;

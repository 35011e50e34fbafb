-- What every write asks, as functions: PostgreSQL keeps the plans of plpgsql for a session, and each
-- of these statements takes longer to plan than to run.

-- Pairs of entity and schema version.
create function lockstep.live_versions(namespace text) returns json
language plpgsql stable
as $$
begin
  return (
    select json_agg(json_build_array(v.entity, v.version)) from lockstep.schema_versions v
    where v.namespace = live_versions.namespace
  );
end
$$;

-- Leaves the outbox rows of a write in its transaction: row n is for `entities[n]` and the ids from
-- `firsts[n]` to `lasts[n]`. Without `row_ids` the namespace is not registered; without `incarnation`
-- this life of the database has none yet. Whether its row is this cluster's own is left to the poll,
-- which every instance begins with.
create function lockstep.record(
  namespace text, entities text[], ids text[], firsts integer[], lasts integer[], idle_ms integer,
  out xid text, out incarnation text, out row_ids text[], out recorded_at text,
  out versions json
)
language plpgsql
as $$
#variable_conflict use_column
begin
  -- A limit of the caller's own is not loosened.
  if extract(epoch from current_setting('idle_in_transaction_session_timeout')::interval) * 1000
      not between 1 and idle_ms then
    perform set_config('idle_in_transaction_session_timeout', idle_ms::text, true);
  end if;
  with recorded as (
    insert into lockstep.outbox as o (namespace, entity, ids)
    select n.name, r.entity, record.ids[r.first:r.last]
    from lockstep.namespaces n, unnest(entities, firsts, lasts) as r (entity, first, last)
    where n.name = record.namespace
    returning o.row_id, o.created_at
  )
  select pg_current_xact_id()::text, (select i.id from lockstep.incarnations i),
    array_agg(r.row_id::text), extract(epoch from min(r.created_at))::text
  into xid, incarnation, row_ids, recorded_at
  from recorded r;
  versions := lockstep.live_versions(record.namespace);
end
$$;

revoke execute on all functions in schema lockstep from public;

-- What the server makes of the files as they are on disk now, in one row.
-- pg_file_settings and pg_hba_file_rules read them anew for this session, so nothing has to be reloaded first.
WITH settings AS (
  SELECT
    -- A setting that was taken out of the files and needs a restart has a row without name and file.
    coalesce(name, substring(error FROM '^parameter "(.+)" cannot be changed without restarting')) AS name,
    sourcefile, sourceline, seqno, applied, error,
    coalesce(error = 'setting could not be applied'
             OR sourcefile IS NULL AND error ~ ' cannot be changed without restarting', false) AS needs_restart
  FROM pg_file_settings
)
SELECT
  EXISTS (SELECT FROM settings WHERE sourcefile = %(settings_file)s) AS included,
  ARRAY(
    SELECT name FROM pg_settings WHERE pending_restart
    UNION SELECT name FROM settings WHERE needs_restart
    ORDER BY 1
  ) AS restart_needed,
  ARRAY(
    SELECT concat_ws(': ', sourcefile || ' line ' || sourceline, name, error)
    FROM settings WHERE error IS NOT NULL AND NOT needs_restart
    UNION ALL
    SELECT 'pg_hba.conf line ' || line_number || ': ' || error FROM pg_hba_file_rules WHERE error IS NOT NULL
  ) AS errors,
  -- A later file or ALTER SYSTEM wins over ours without a word; then, for example, nothing is archived.
  ARRAY(
    SELECT DISTINCT ours.name || ' is overridden by ' || winner.sourcefile || ' line ' || winner.sourceline
      || CASE WHEN winner.sourcefile LIKE '%%postgresql.auto.conf' THEN ' (ALTER SYSTEM RESET ' || ours.name || ')' ELSE '' END
    FROM settings AS ours
    JOIN settings AS winner ON winner.name = ours.name AND winner.seqno > ours.seqno
    WHERE ours.sourcefile = %(settings_file)s AND winner.sourcefile <> ours.sourcefile
      AND (winner.applied OR winner.needs_restart)
  ) AS overridden

-- What is compared to find the first place where a log contradicts itself.

-- name: leaves
SELECT index, leaf FROM ledger.entry WHERE index >= %s AND index < %s ORDER BY index

-- name: roots
SELECT size, root FROM ledger.root WHERE size > %s AND size <= %s ORDER BY size

-- name: entries
SELECT index, statement::text, actor_signature, ledger_signature, leaf
FROM ledger.entry WHERE index >= %s AND index < %s ORDER BY index

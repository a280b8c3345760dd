#!/bin/sh
# Run once by the image, when the volume is empty: those who log in beside the owner. What they may do is said by
# `ledgerflux migrate --roles`; until it has run, they may do nothing.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set writer="$WRITER_USERNAME" --set writer_password="$WRITER_PASSWORD" \
    --set reader="$READER_USERNAME" --set reader_password="$READER_PASSWORD" <<'EOF'
CREATE ROLE ledgerflux_writer NOLOGIN;
CREATE ROLE ledgerflux_reader NOLOGIN;
CREATE ROLE :"writer" LOGIN PASSWORD :'writer_password' IN ROLE ledgerflux_writer;
CREATE ROLE :"reader" LOGIN PASSWORD :'reader_password' IN ROLE ledgerflux_reader;
EOF

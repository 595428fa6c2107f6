package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the file's schema up to date. goose speaks database/sql, so it
// has a connection of its own, which is closed before any other is opened.
func migrate(ctx context.Context, path string) error { return migrateTo(ctx, path, latest) }

// latest is the newest version of the schema.
const latest = 9

func migrateTo(ctx context.Context, path string, version int64) (err error) {
	dsn := (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"}).String()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, sub, goose.WithGoMigrations(chunkHashesMigration(), sumsMigration(), recordsMigration(), issuancesMigration(), openMigration()))
	if err != nil {
		return err
	}
	if _, err = p.UpTo(ctx, version); err != nil {
		return err
	}
	switch now, err := p.GetDBVersion(ctx); {
	case err != nil:
		return err
	case now > latest:
		return fmt.Errorf("the database has schema %d of a newer broker, and this one knows none after %d: start the newer one", now, latest)
	}
	return nil
}

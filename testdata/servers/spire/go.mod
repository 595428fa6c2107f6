module github.com/valetkey/valetkey/testdata/servers/spire

go 1.26

require github.com/spiffe/spire v1.13.0

package files

import "github.com/valetkey/valetkey/broker/brokertest/clienttest"

var (
	must, read, exists, writeFile = clienttest.Must, clienttest.Read, clienttest.Exists, clienttest.WriteFile
	ofOther, asRoot               = clienttest.OfOther, clienttest.AsRoot
)

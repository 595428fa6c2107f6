package oracle

import (
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
)

// One policy of ten statements and one request, as in scopes/iam: prepared, from text, and the oracle, which reads its text
// each time.
const tenStatements = `{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectTagging"],"Resource":"arn:aws:s3:::reports/2026/*"},
{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::reports","Condition":{"StringLike":{"s3:prefix":["2026/*","2025/*"]}}},
{"Effect":"Allow","Action":"s3:Put*","Resource":"arn:aws:s3:::reports/*/drafts/*"},
{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::reports/home/${aws:username}/*"},
{"Effect":"Allow","Action":["sqs:SendMessage","sqs:ReceiveMessage"],"Resource":"arn:aws:sqs:us-east-1:111122223333:jobs-*"},
{"Effect":"Allow","Action":"kms:Decrypt","Resource":"arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d","Condition":{"StringEquals":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}}},
{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-24T12:00:00Z"}}},
{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":["203.0.113.0/24","198.51.100.0/24"]},"Bool":{"aws:ViaAWSService":"false"}}},
{"Effect":"Deny","NotAction":["s3:GetObject","s3:GetObjectTagging","s3:ListBucket","s3:Put*","s3:*","sqs:*","kms:Decrypt"],"Resource":"*"},
{"Effect":"Deny","Action":"*","NotResource":["arn:aws:s3:::reports","arn:aws:s3:::reports/*","arn:aws:sqs:*:*:*","arn:aws:kms:*:*:*"]}]}`

func tenStatementsRequest() iam.Request {
	return iam.Request{Action: "s3:PutObject", Resource: "arn:aws:s3:::reports/home/ann/drafts/summary.csv", Context: map[string][]string{
		"aws:CurrentTime": {"2026-11-23T12:00:00Z"}, "aws:SourceIp": {"203.0.113.9"}, "aws:ViaAWSService": {"false"},
		"aws:SecureTransport": {"true"}, "aws:username": {"ann"}, "aws:userid": {"AROAEXAMPLE:session"}}}
}

func BenchmarkPrepared(b *testing.B) {
	e, err := iam.Compile(iam.DialectAWS, parse(b, tenStatements), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	r := tenStatementsRequest()
	b.ReportAllocs()
	for b.Loop() {
		if d, err := e.Allows(r); err != nil || d.Verdict != iam.Allowed {
			b.Fatal(d, err)
		}
	}
}

func BenchmarkFromText(b *testing.B) {
	r := tenStatementsRequest()
	b.ReportAllocs()
	for b.Loop() {
		if d, err := iam.Allows(iam.DialectAWS, parse(b, tenStatements), nil, nil, r); err != nil || d.Verdict != iam.Allowed {
			b.Fatal(d, err)
		}
	}
}

func BenchmarkOracle(b *testing.B) {
	r := tenStatementsRequest()
	b.ReportAllocs()
	for b.Loop() {
		if v := combine(evaluate([]string{tenStatements}, r)); v != iam.Allowed {
			b.Fatal(v)
		}
	}
}

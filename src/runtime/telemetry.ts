/**
 * @file Turns off what ONNX Runtime would tell its makers. Importing this file is enough; it must happen before the engine is loaded.
 *
 * From 1.30 on its library counts sessions in files of the user's cache folder and sends them to a host of Microsoft's. It asks the
 * process's environment. In a worker thread `process.env` is a copy, so the thread that starts it must have imported this file, or given
 * it its own environment (SHARE_ENV). A value that the user has set is left as it is.
 */
process.env.ORT_DISABLE_TELEMETRY ??= "1";
